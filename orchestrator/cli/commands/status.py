"""`bnsweep status`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.text import Text

from orchestrator.cli import options, screen
from orchestrator.errors import UnreachableError, UserError
from orchestrator.launching.board import (
    Board,
    clock,
    epochs_text,
    place,
    seconds_left,
    when,
)
from orchestrator.settings import load as load_settings
from orchestrator.store import lookup, permissions
from orchestrator.store.records import Launch, State, TrialStatus, count_states
from orchestrator.store.store import Store
from orchestrator.sweep.labels import labels
from trainer.spec import TrialSpec

EXAMPLES = ("bnsweep status", "bnsweep status quickstart -w")
WATCH_S = 2.0
OLD_S = 60.0
"""A step or a checkpoint of this age is worth a word."""


def status(
    name: options.OptionalSweepName = "",
    watch: Annotated[
        bool, typer.Option("-w", "--watch", help="Look again every two seconds.")
    ] = False,
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
) -> None:
    """Show all sweeps, or a sweep's trials: state, epoch, accuracy, speed, time left, cause."""
    store = Store(load_settings(store_folder).store)
    if not name:
        _show_sweeps(store, as_json)
        return
    launch = lookup.launch_of(store, name)
    if watch and not as_json:
        _watch(store, launch)
        return
    statuses = [store.state(spec) for spec in launch.specs]
    if as_json:
        screen.show_json(_as_json(launch, statuses))
        return
    total = Text.assemble((f"{name}: ", "bold"), screen.counts(count_states(statuses)))
    screen.show(_trial_table(launch, statuses), "", total)
    screen.say(f"\nnext: bnsweep {next_command(name, statuses)}", "dim")


def next_command(name: str, statuses: Iterable[TrialStatus]) -> str:
    """What somebody who sees these states is likely to type next."""
    states = {status.state for status in statuses}
    if "running" in states:
        return f"status {name} -w"
    if "failed" in states:
        return "logs TRIAL"
    return f"resume {name}" if states & {"stopped", "pending"} else f"report {name}"


def _show_sweeps(store: Store, as_json: bool) -> None:
    sweeps, unread = [], []
    for name in store.sweeps():
        try:
            if launch := store.newest_launch(name):
                states = [store.state(spec) for spec in launch.specs]
                by = store.running_launches(name, states)
                sweeps.append((launch, count_states(states), by))
        except (OSError, UnreachableError) as error:
            why = permissions.in_a_line(error) if isinstance(error, OSError) else error
            unread.append(f"sweep {name} cannot be read: {why}")
    for line in unread:
        screen.say(line)
    if as_json:
        screen.show_json({"sweeps": [_sweep_as_json(*sweep) for sweep in sweeps]})
    elif sweeps:
        rows = [
            [x.sweep.name, when(x.time_ms), ", ".join(map(_who, by)), screen.counts(n)]
            for x, n, by in sweeps
        ]
        screen.show(screen.table(["sweep", "launched", "run by", "trials"], rows))
    elif unread:
        return
    elif store.root.exists() and not store.root.is_dir():
        raise UserError(f"store {store.root}: is not a folder; give another with --store")
    else:
        store.check_version()
        none = "no sweeps in" if store.root.exists() else "there is no store yet at"
        screen.say(f"{none} {store.root}; begin with: bnsweep launch sweeps/quickstart.yaml")


def _sweep_as_json(
    newest: Launch, counts: dict[State, int], running: list[Launch]
) -> dict[str, Any]:
    by = running[0] if running else None
    return {
        "sweep": newest.sweep.name,
        "counts": counts,
        "user": by.user if by else None,
        "host": by.host if by else None,
    }


def _who(launch: Launch) -> str:
    return f"{launch.user} on {launch.host}" if launch.user else launch.host


def _watch(store: Store, launch: Launch) -> None:
    """Redraw until no trial runs; Ctrl-C only stops looking."""
    board = Board(launch)
    try:
        with Live(console=screen.console(), auto_refresh=False) as live:
            while True:
                board.update([store.state(spec) for spec in launch.specs])
                live.update(board, refresh=True)
                if not board.running:
                    return
                time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return


def _as_json(launch: Launch, statuses: list[TrialStatus]) -> dict[str, Any]:
    return {
        "sweep": launch.sweep.name,
        "launch": launch.number,
        "counts": count_states(statuses),
        "trials": [
            {**asdict(status), "seconds_left": seconds_left(status, spec)}
            for status, spec in zip(statuses, launch.specs, strict=True)
        ],
    }


def _trial_table(launch: Launch, statuses: Iterable[TrialStatus]) -> Any:
    short = labels(launch.specs)
    rows = [
        [
            short[status.trial_id],
            status.trial_id.rpartition("-")[2],
            screen.state(status.state),
            epochs_text(status),
            "" if status.test_accuracy is None else f"{status.test_accuracy:.2f}",
            progress_or_cause(status, spec),
        ]
        for status, spec in zip(statuses, launch.specs, strict=True)
    ]
    columns = ["trial", "id", "state", "epoch", "test acc %", ""]
    return screen.table(columns, rows, right=["epoch", "test acc %"])


def progress_or_cause(status: TrialStatus, spec: TrialSpec) -> str:
    """Of a running trial its speed, time left, place in the epoch, host and user; of a failed or
    stopped one the cause."""
    if status.state in ("failed", "stopped"):
        return status.cause
    if status.state != "running":
        return ""
    left, rate = seconds_left(status, spec), status.images_per_second
    parts = [f"{rate:.0f} img/s" if rate else "", f"{clock(left)} left" if left else ""]
    parts += [*_within_epoch(status), place(status), f"by {status.user}" if status.user else ""]
    return ", ".join(part for part in parts if part)


def _within_epoch(status: TrialStatus) -> Iterator[str]:
    """The step, and how old it and the checkpoint are where that is more than a moment."""
    if status.steps:
        yield f"step {status.step}/{status.steps}"
    for what, age in (
        ("step", status.seconds_since_step),
        ("checkpoint", status.seconds_since_checkpoint),
    ):
        if age is not None and age >= OLD_S:
            yield f"last {what} {clock(age)} ago"
