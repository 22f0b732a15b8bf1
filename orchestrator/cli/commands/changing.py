"""The verbs that change what is there: stop, discard, gc."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator import settings
from orchestrator.cli import lookup, options, screen
from orchestrator.cli.options import examples
from orchestrator.launching.driver import request_stop
from orchestrator.store import gc as garbage
from orchestrator.store.store import Store

app = typer.Typer(rich_markup_mode=None)


@app.command(
    "stop",
    epilog=examples("bnsweep stop quickstart", "bnsweep stop quickstart --now --trial 6dcfdff9"),
)
def stop(
    name: options.SweepName,
    now: Annotated[
        bool, typer.Option("--now", help="End running trials after their step.")
    ] = False,
    trials: options.TrialIds = [],  # noqa: B006  # typer copies it
    as_json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Start nothing new and let running trials finish, or end them with a checkpoint (--now).

    `bnsweep resume` goes on from where they are.
    """
    opened = Store(settings.load(store).store)
    launch = lookup.launch_of(opened, name).number
    launch = max(launch, *opened.launch_numbers(name))  # also one whose file is damaged
    wanted = [lookup.trial_id(opened, typed) for typed in trials]
    # Of all launches: one from before the sweep file lost trials may still be training them.
    chosen = [s for s in opened.launched(name) if not wanted or s.trial_id in wanted]
    states = {spec.trial_id: opened.state(spec).state for spec in chosen}
    finished = set(states.values()) == {"finished"}
    if not finished:
        request_stop(opened, name, launch, "now" if now else "graceful", wanted)
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


@app.command(
    "discard",
    epilog=examples("bnsweep discard 6dcfdff9", "bnsweep discard 6dcfdff9 --store /data/runs"),
)
def discard(
    trial: options.TrialId, as_json: options.Json = False, store: options.Store = None
) -> None:
    """Set a trial's results aside, so that the next launch trains it again from the start."""
    opened = Store(settings.load(store).store)
    trial_id = lookup.trial_id(opened, trial)
    aside = opened.discard(trial_id)
    sweeps = lookup.sweeps_of(opened, trial_id)
    if as_json:
        screen.show_json({"trial_id": trial_id, "aside": str(aside), "sweeps": sweeps})
        return
    screen.show(f"trial {trial_id}: set aside in {aside}")
    for name in sweeps:
        screen.say(f"next: bnsweep resume {name}", "dim")


@app.command("gc", epilog=examples("bnsweep gc", "bnsweep gc -y"))
def gc(
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Remove what was found.")] = False,
    as_json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Find what no sweep needs any more; only -y removes it."""
    opened = Store(settings.load(store).store)
    found = garbage.find(opened)
    freed = garbage.remove(opened, found) if yes else 0
    if as_json:
        items = [{"path": str(g.path), "bytes": g.bytes, "reason": g.reason} for g in found]
        screen.show_json({"found": items, "removed": yes, "bytes_freed": freed})
        return
    rows = [[screen.size(g.bytes) + "B", g.reason, g.path.relative_to(opened.root)] for g in found]
    if rows:
        screen.show(screen.table(["size", "why", "path"], rows, right=["size"]), "")
    total = sum(g.bytes for g in found)
    screen.show(f"{len(found)} items, {screen.size(total)}B{' removed' if yes else ''}")
    if found and not yes:
        screen.say("to remove them: bnsweep gc -y", "dim")
