"""`bnsweep discard`."""

from __future__ import annotations

from orchestrator.cli import options, screen
from orchestrator.settings import load as load_settings
from orchestrator.store import lookup
from orchestrator.store.store import Store

EXAMPLES = ("bnsweep discard 6dcfdff9", "bnsweep discard 6dcfdff9 --store /data/runs")


def discard(
    trial: options.TrialId, as_json: options.Json = False, store_folder: options.StoreFolder = None
) -> None:
    """Set a trial's results aside, so that the next launch trains it again from the start."""
    store = Store(load_settings(store_folder).store)
    trial_id = lookup.trial_id(store, trial)
    aside = store.discard(trial_id)
    sweeps = lookup.sweeps_of(store, trial_id)
    if as_json:
        screen.show_json({"trial_id": trial_id, "aside": str(aside), "sweeps": sweeps})
        return
    screen.show(f"trial {trial_id}: set aside in {aside}")
    for name in sweeps:
        screen.say(f"next: bnsweep resume {name}", "dim")
