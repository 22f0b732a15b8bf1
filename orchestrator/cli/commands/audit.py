"""`bnsweep audit`. Loads MLflow."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli import options, screen
from orchestrator.cli.verbs import as_called
from orchestrator.extensions import MLFLOW
from orchestrator.library import connect
from orchestrator.settings import load as load_settings
from orchestrator.store import lookup
from orchestrator.store import mend as mending
from orchestrator.store.store import Store
from orchestrator.tracking.audit import audit as prove

EXAMPLES = ("bnsweep audit quickstart", "bnsweep audit --json", "bnsweep audit --mend")


def audit(
    name: options.OptionalSweepName = "",
    mend: Annotated[
        bool,
        typer.Option("--mend", help="First put right what results and launches still hold."),
    ] = False,
    tracker_name: options.Tracker = "",
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
) -> int:
    """Prove that trials balance, folders are known, journals whole, and MLflow equals them.

    Exit code 1 where something was found. Changes nothing without --mend, and trains nothing.
    """
    settings = load_settings(store_folder)
    store = Store(settings.store)
    store.check_version()
    sweeps = lookup.sweep_names(store, name)
    mended = [m for s in sweeps if mend for m in mending.mend(store, store.launched(s))]
    tracker = connect(settings, tracker_name or MLFLOW)
    checks_of = {sweep: prove(store, sweep, tracker) for sweep in sweeps}
    ok = all(check.ok for checks in checks_of.values() for check in checks)
    if as_json:
        checks = [{"sweep": s, **asdict(check)} for s in sweeps for check in checks_of[s]]
        screen.show_json({"ok": ok, "mended": mended, "checks": checks})
        return 0 if ok else 1
    for line in mended:
        screen.say(line)
    for sweep, checks_of_sweep in checks_of.items():
        rows = [[_mark(check.ok), check.name, as_called(check.detail)] for check in checks_of_sweep]
        screen.show(Text(sweep, "bold"), screen.table(["", "check", "found"], rows))
    return 0 if ok else 1


def _mark(ok: bool) -> Text:
    return Text("ok", "green") if ok else Text("NO", "bold red")
