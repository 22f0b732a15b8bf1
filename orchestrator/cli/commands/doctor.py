"""`bnsweep doctor`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from orchestrator import doctor as machine
from orchestrator.cli import completion, options, screen
from orchestrator.cli.verbs import as_called
from orchestrator.library import Sweep, connect
from orchestrator.settings import load as load_settings

EXAMPLES = ("bnsweep doctor", "bnsweep doctor sweeps/cifar10-small.yaml")

OptionalSweepFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="SWEEP",
        help="A sweep file: its data sets and the disk it needs are looked at too.",
        autocompletion=completion.sweep_files,
    ),
]


def doctor(
    sweep_file: OptionalSweepFile = None,
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
    data_folder: options.DataFolder = None,
) -> int:
    """Check what would stop a launch here, each in a line with what to do.

    Exit code as a launch would give: 0 it would run, 2 a mistake, 3 something is not reached.
    """
    settings = load_settings(store_folder, data_folder)
    specs = (
        Sweep.load(sweep_file, data=data_folder).plan(settings.store).to_run if sweep_file else ()
    )
    checks = []
    for check in machine.examine(settings, specs, lambda: connect(settings)):
        checks.append(check)
        if not as_json:
            name = (f"{check.name:<9}", "bold")
            screen.show(Text.assemble(_mark(check), " ", name, as_called(check.detail)))
    code = machine.exit_code(checks)
    if as_json:
        screen.show_json({"ok": code == 0, "exit_code": code, "checks": list(map(asdict, checks))})
    return code


def _mark(finding: machine.Finding) -> Text:
    if finding.ok:
        return Text("ok  ", "green")
    return Text("STOP", "bold red") if finding.exit_code else Text("note", "yellow")
