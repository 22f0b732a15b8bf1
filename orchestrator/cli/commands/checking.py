"""The verb that looks at the machine: doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from orchestrator import doctor as checks
from orchestrator import settings
from orchestrator.cli import completion, options, screen
from orchestrator.cli.options import examples
from orchestrator.library import Sweep, connect

app = typer.Typer(rich_markup_mode=None)

OptionalSweepFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[SWEEP]",
        help="A sweep file: its data sets and the disk it needs are looked at too.",
        autocompletion=completion.sweep_files,
    ),
]


@app.command(
    "doctor", epilog=examples("bnsweep doctor", "bnsweep doctor sweeps/cifar10-small.yaml")
)
def doctor(
    sweep_file: OptionalSweepFile = None,
    as_json: options.Json = False,
    store: options.Store = None,
    data: options.Data = None,
) -> int:
    """Check what would stop a launch here, each in a line with what to do.

    Exit code as a launch would give: 0 it would run, 2 a mistake, 3 something is not reached.
    """
    where = settings.load(store, data)
    specs = Sweep.load(sweep_file).plan(where.store).to_run if sweep_file else ()
    found = []
    for check in checks.examine(where, specs, lambda: connect(where)):
        found.append(check)
        if not as_json:
            screen.show(
                Text.assemble(_mark(check), " ", (f"{check.name:<9}", "bold"), check.detail)
            )
    code = checks.exit_code(found)
    if as_json:
        screen.show_json({"ok": code == 0, "exit_code": code, "checks": [asdict(c) for c in found]})
    return code


def _mark(check: checks.Check) -> Text:
    if check.ok:
        return Text("ok  ", "green")
    return Text("STOP", "bold red") if check.exit_code else Text("note", "yellow")
