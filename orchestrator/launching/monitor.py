"""Follows a launch from a thread: shows the trials, holds back what keeps failing one way, and
stops a launch that has spent its GPU-hours."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from orchestrator.errors import UnreachableError
from orchestrator.launching.budget import Budget
from orchestrator.launching.rounds import RunningLaunch
from orchestrator.store import failures
from orchestrator.store.records import STATES, Launch, TrialStatus
from orchestrator.tracking.forwarder import Forwarder
from trainer.spec import TrialSpec

GRACE_S = 60.0
"""So long after a request to end at the next step, a worker that is still there is killed."""


class Observer:
    """Follows a launch. This one shows nothing; others override what they show.

    The calls come from two threads, never two at once. An error raised here ends the launch.
    """

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        """The launch has its number; nothing runs yet."""

    def update(self, statuses: Sequence[TrialStatus]) -> None:
        """The states of all trials of the sweep, about once a second and at the end."""

    def note(self, text: str) -> None:
        """Something to tell the user, in a line."""


@contextlib.contextmanager
def following(
    launch: RunningLaunch,
    observer: Observer,
    forwarder: Forwarder | None,
    end_at_once: Callable[[], None],
) -> Iterator[None]:
    """Follow the trials from a thread: show them, and hold back what keeps failing the same way.

    `end_at_once` is called where workers do not obey a request to end after their step.
    """
    over = threading.Event()
    thread = threading.Thread(
        target=_follow,
        args=(launch, observer, forwarder, end_at_once, over),
        name="monitor",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _follow(
    launch: RunningLaunch,
    observer: Observer,
    forwarder: Forwarder | None,
    end_at_once: Callable[[], None],
    over: threading.Event,
) -> None:
    pause_s = 1.0
    held: dict[str, str] = {}
    problem, deadline = "", None
    budget, in_budget = Budget(launch), True
    while not over.wait(pause_s):
        began = time.monotonic()
        try:
            statuses = launch.statuses()
            held = _hold_back(launch, statuses, held, observer)
            observer.update(statuses)
            problem = _say_if_new(problem, forwarder.problem if forwarder else "", observer)
            if in_budget and budget.spent(statuses):
                observer.note(budget.stop())
                in_budget = False
            stop = launch.stop
        except (OSError, UnreachableError) as error:
            observer.note(f"store {launch.store.root}: {error}")
            continue
        if deadline is None and stop and stop.mode == "now":
            deadline = began + GRACE_S
        if deadline is not None and began > deadline:
            end_at_once()
            deadline = math.inf
        # Looking costs at most a twentieth of the driver's time, however many trials there are.
        pause_s = max(1.0, 20 * (time.monotonic() - began))


def _say_if_new(before: str, problem: str, observer: Observer) -> str:
    """Tell once that the tracker is not reached, and once that it is again."""
    if problem and not before:
        observer.note(f"tracker: {problem}; training goes on, `bnsweep sync` sends it later")
    if before and not problem:
        observer.note("tracker: reached again")
    return problem


def _hold_back(
    launch: RunningLaunch,
    statuses: Sequence[TrialStatus],
    held: dict[str, str],
    observer: Observer,
) -> dict[str, str]:
    """Hold back trials that are like those which failed with one traceback in this launch."""
    by_state: dict[str, list[TrialSpec]] = {state: [] for state in STATES}
    for spec, status in zip(launch.specs, statuses, strict=True):
        by_state[status.state].append(spec)
    failed = [
        (spec, failure)
        for spec in by_state["failed"]
        for failure in launch.failures_here(spec.trial_id)
    ]
    waiting = by_state["pending"] + by_state["stopped"]
    alike = failures.held_back(failed, by_state["finished"], waiting) if failed else {}
    if alike.keys() <= held.keys():
        return held
    held = {**held, **alike}
    launch.store.hold_back(*launch.key, held)
    observer.note(f"{len(alike)} trials {next(iter(alike.values()))}")
    return held
