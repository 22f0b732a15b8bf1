"""Follows a launch from a thread: shows the trials, and holds back what keeps failing one way."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from orchestrator.errors import UnreachableError
from orchestrator.launching.rounds import Run
from orchestrator.store import failures
from orchestrator.store.records import STATES, Launch, TrialStatus
from orchestrator.tracking.forwarder import Forwarder
from trainer.spec import TrialSpec

GRACE_S = 60.0
"""So long after a request to end at the next step, a worker that is still there is killed."""


class Observer(Protocol):
    """Follows a launch: the command line's display, or a test's list."""

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        """The launch has its number; nothing runs yet."""

    def update(self, statuses: Sequence[TrialStatus]) -> None:
        """The states of all trials of the sweep, about once a second."""

    def note(self, text: str) -> None:
        """Something to tell the user, in a line."""


class Silent:
    """An observer that shows nothing."""

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        """Nothing."""

    def update(self, statuses: Sequence[TrialStatus]) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@contextlib.contextmanager
def following(run: Run, observer: Observer, forwarder: Forwarder | None = None) -> Iterator[None]:
    """Follow the trials from a thread: show them, and hold back what keeps failing the same way."""
    over = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(run, observer, forwarder, over), name="monitor", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(
    run: Run, observer: Observer, forwarder: Forwarder | None, over: threading.Event
) -> None:
    pause_s = 1.0
    held: dict[str, str] = {}
    problem, overdue = "", None
    while not over.wait(pause_s):
        began = time.monotonic()
        try:
            statuses = run.statuses()
            held = _hold_back(run, statuses, held, observer)
            observer.update(statuses)
            problem = _say_if_new(problem, forwarder.problem if forwarder else "", observer)
            stop = run.stop
        except (OSError, UnreachableError) as error:
            observer.note(f"store {run.store.root}: {error}")
            continue
        if stop and stop.mode == "now":
            overdue = overdue or began + GRACE_S
            if began > overdue:
                run.overdue = True
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return
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
    run: Run, statuses: Sequence[TrialStatus], held: dict[str, str], observer: Observer
) -> dict[str, str]:
    """Hold back trials that are like those which failed with one traceback in this launch."""
    by_state: dict[str, list[TrialSpec]] = {state: [] for state in STATES}
    for spec, status in zip(run.specs, statuses, strict=True):
        by_state[status.state].append(spec)
    failed = [(spec, f) for spec in by_state["failed"] for f in run.failures_here(spec.trial_id)]
    waiting = by_state["pending"] + by_state["stopped"]
    found = failures.held_back(failed, by_state["finished"], waiting) if failed else {}
    if not found or found.keys() <= held.keys():
        return held
    held = {**held, **found}
    run.store.hold_back(run.launch.sweep, run.launch.number, held)
    observer.note(f"{len(found)} trials {next(iter(found.values()))}")
    return held
