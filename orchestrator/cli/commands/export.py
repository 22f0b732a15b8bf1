"""`bnsweep export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import options, screen
from orchestrator.launching.export import export as write_network
from orchestrator.settings import load as load_settings
from orchestrator.store import lookup
from orchestrator.store.store import Store

EXAMPLES = ("bnsweep export 6dcfdff9 model.pt", "bnsweep export 6dcfdff9 /tmp/model.pt")


def export(
    trial: options.TrialId,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the state dict.")],
    pretrained: Annotated[
        Path | None,
        typer.Option(
            "--pretrained",
            metavar="FILE",
            help="The weights file it began with, if not in the store.",
        ),
    ] = None,
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
) -> None:
    """Write a finished trial's whole network, frozen weights included, for plain PyTorch.

    docs/export.md shows the few lines that load it without bnsweep.
    """
    store = Store(load_settings(store_folder).store)
    trial_id = lookup.trial_id(store, trial)
    summary = write_network(store, trial_id, file, pretrained)
    if as_json:
        screen.show_json({"trial_id": trial_id, "file": str(file.absolute())})
        return
    screen.show(summary)
