"""`bnsweep sync`. Loads MLflow."""

from __future__ import annotations

from dataclasses import asdict

from orchestrator.cli import options, screen
from orchestrator.extensions import MLFLOW
from orchestrator.library import connect_to_write
from orchestrator.settings import load as load_settings
from orchestrator.store import lookup
from orchestrator.store.store import Store
from orchestrator.tracking import forwarder
from orchestrator.tracking.forwarder import Backlog

EXAMPLES = ("bnsweep sync quickstart", "bnsweep sync")


def sync(
    name: options.OptionalSweepName = "",
    tracker_name: options.Tracker = "",
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
) -> int:
    """Send the tracker what it lacks of a sweep, or of all sweeps."""
    settings = load_settings(store_folder)
    store = Store(settings.store)
    store.check_version()
    sweeps = lookup.sweep_names(store, name)
    tracker = connect_to_write(settings, tracker_name or MLFLOW)
    backlogs = {sweep: forwarder.sync(store, sweep, tracker) for sweep in sweeps}
    if as_json:
        screen.show_json({"sweeps": [{"sweep": s, **asdict(b)} for s, b in backlogs.items()]})
    else:
        for sweep, backlog in backlogs.items():
            screen.show(f"{sweep}: {_text(backlog)}")
            for note in backlog.notes:
                screen.say(note, "yellow")
    return 0 if all(backlog.empty for backlog in backlogs.values()) else 4


def _text(backlog: Backlog) -> str:
    if backlog.empty:
        return "the tracker has everything"
    why = f": {backlog.problem}" if backlog.problem else ""
    return f"the tracker still lacks {backlog.records} records of {backlog.trials} trials{why}"
