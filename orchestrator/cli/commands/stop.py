"""`bnsweep stop`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options, screen
from orchestrator.launching.driver import request_stop
from orchestrator.settings import load as load_settings
from orchestrator.store import lookup
from orchestrator.store.store import Store

EXAMPLES = ("bnsweep stop quickstart", "bnsweep stop quickstart --now --trial 6dcfdff9")


def stop(
    name: options.SweepName,
    now: Annotated[
        bool, typer.Option("--now", help="End running trials after their step.")
    ] = False,
    trials: options.TrialIds = [],  # noqa: B006  # typer copies it
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
) -> None:
    """Start nothing new and let running trials finish, or end them with a checkpoint (--now).

    `bnsweep resume` goes on from where they are.
    """
    store = Store(load_settings(store_folder).store)
    launch = lookup.launch_of(store, name).number
    launch = max(launch, *store.launch_numbers(name))  # also one whose file is damaged
    trial_ids = [lookup.trial_id(store, typed) for typed in trials]
    # Of all launches: one from before the sweep file lost trials may still be training them.
    specs = [s for s in store.launched(name) if not trial_ids or s.trial_id in trial_ids]
    states = {spec.trial_id: store.state(spec).state for spec in specs}
    finished = set(states.values()) == {"finished"}
    if not finished:
        request_stop(store, name, launch, "now" if now else "graceful", trial_ids)
    running = [trial_id for trial_id, state in states.items() if state == "running"]
    if as_json:
        mode = "now" if now else "graceful"
        screen.show_json({"sweep": name, "launch": launch, "mode": mode, "running": running})
        return
    if finished:
        screen.show(f"{name}: is finished; there is nothing to stop")
        return
    how = "end after their step" if now else "finish first (--now: end after their step)"
    screen.show(f"{name}: nothing new begins; {len(running)} running trials {how}")
    screen.say(f"to go on: bnsweep resume {name}", "dim")
