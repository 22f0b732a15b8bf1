"""The verb that takes a network out of the store: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator import settings
from orchestrator.cli import lookup, options, screen
from orchestrator.cli.options import examples
from orchestrator.launching import export as exporting
from orchestrator.store.store import Store

app = typer.Typer(rich_markup_mode=None)


@app.command(
    "export",
    epilog=examples("bnsweep export 6dcfdff9 model.pt", "bnsweep export 6dcfdff9 /tmp/model.pt"),
)
def export(
    trial: options.TrialId,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the state dict.")],
    pretrained: Annotated[
        Path | None,
        typer.Option("--pretrained", metavar="FILE", help="The weights file it began with."),
    ] = None,
    as_json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Write a finished trial's whole network, frozen weights included, for plain PyTorch.

    docs/export.md shows the few lines that load it without bnsweep.
    """
    opened = Store(settings.load(store).store)
    trial_id = lookup.trial_id(opened, trial)
    said = exporting.export(opened, trial_id, file, pretrained)
    if as_json:
        screen.show_json({"trial_id": trial_id, "file": str(file.absolute())})
        return
    screen.show(said)
