"""The verbs that change what is there: stop, discard, gc."""

from __future__ import annotations

import typer

from orchestrator import settings
from orchestrator.cli import names, options, screen
from orchestrator.cli.options import examples
from orchestrator.store import Store

app = typer.Typer()


@app.command(
    "discard",
    epilog=examples("bnsweep discard 6dcfdff9", "bnsweep discard 6dcfdff9 --store /data/runs"),
)
def discard(trial: options.TrialId, store: options.Store = None) -> None:
    """Set a trial's results aside, so that the next launch trains it again from the start."""
    opened = Store(settings.load(store).store)
    trial_id = names.trial_id(opened, trial)
    aside = opened.discard(trial_id)
    screen.show(f"trial {trial_id}: set aside in {aside}")
    for name in names.sweeps_of(opened, trial_id):
        screen.say(f"next: bnsweep resume {name}", "dim")
