"""Launching: rounds over the store until nothing is left to run (DESIGN §10).

Read the states, run what is missing through a launcher, read again. `launch` believes the store,
never what a launcher returns. Every retry is decided here, between rounds, by `failures.decide`.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from orchestrator.errors import UnreachableError
from orchestrator.launching.monitor import Observer, Silent, following
from orchestrator.launching.rounds import Order, Run, jobs, next_round
from orchestrator.launching.worker import Job, run_pack
from orchestrator.planning import costs
from orchestrator.settings import Settings
from orchestrator.store.records import STATES, Launch, Stop, StopMode, TrialStatus
from orchestrator.store.store import Store
from orchestrator.sweep.resources import Resources
from orchestrator.tracking.forwarder import Backlog, Forwarder
from orchestrator.tracking.tracker import Tracker
from trainer.spec import TrialSpec

DRAIN_S = 30.0
"""How long a launch sends what is left at its end (less after a signal)."""
FRUITLESS_ROUNDS = 3
"""So many rounds in which no trial was even begun mean that no worker can start."""


class Launcher(Protocol):
    """Runs jobs somewhere. Returns when all have ended, in whatever way: the store tells how."""

    def run(self, jobs: Sequence[Job]) -> None:
        """Run each job once, several side by side where there is room."""

    def close(self) -> None:
        """Give back what was started."""


class InlineLauncher:
    """In this process, one trial after another: for debugging and for tests."""

    def run(self, jobs: Sequence[Job]) -> None:
        """Run the jobs in order."""
        for job in jobs:
            run_pack(job)

    def close(self) -> None:
        """Nothing was started."""


@dataclass(frozen=True)
class Outcome:
    """How a launch ended."""

    launch: int
    statuses: tuple[TrialStatus, ...]
    stopped: bool
    backlog: Backlog
    """What the tracker lacks; it never changes the exit code."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials in each state."""
        states = [s.state for s in self.statuses]
        return {state: states.count(state) for state in STATES}

    @property
    def exit_code(self) -> int:
        """As in DESIGN §6: 0 all finished, 1 some failed, 4 stopped or incomplete."""
        counts = self.counts
        if counts["finished"] == len(self.statuses):  # a stop that came too late
            return 0
        if self.stopped or counts["pending"] or counts["running"] or counts["stopped"]:
            return 4
        return 1 if counts["failed"] else 0


def new_launch(
    name: str,
    trials: Sequence[TrialSpec],
    *,
    description: str = "",
    source: str = "",
    filename: str = "",
    overrides: Sequence[str] = (),
    axes: Sequence[str] = (),
    resources: Resources | None = None,
    retries: int = 2,
) -> Launch:
    """The record of a launch, still without a number."""
    return Launch(
        sweep=name,
        number=0,
        time_ms=time.time_ns() // 1_000_000,
        host=socket.gethostname(),
        description=description,
        source=source,
        filename=filename,
        overrides=tuple(overrides),
        axes=tuple(axes),
        resources=asdict(resources or Resources()),
        retries=retries,
        trials=tuple(spec.identity_fields() for spec in trials),
    )


def launch(
    launch: Launch,
    settings: Settings,
    launcher: Launcher,
    *,
    order: Order | None = None,
    observer: Observer | None = None,
    tracker: Tracker | Callable[[], Tracker] | None = None,
    weights: Mapping[str, Path] | None = None,
) -> Outcome:
    """Run what is missing or unfinished of `launch`, and return how it ended.

    `weights`: files of pretrained weights by sha256, kept in the store before anything starts.

    Raises UnreachableError where the store cannot be written or no worker can start.
    """
    store = Store(settings.store)
    numbered = _record(store, launch, weights or {})
    specs = numbered.specs
    order, observer = order or Order(), observer or Silent()
    run = Run(store, settings, numbered, specs, order)
    run.begun_with = {s.trial_id: max(store.attempts(s.trial_id), default=0) for s in specs}
    observer.started(numbered, run.statuses())
    forwarder = Forwarder(store, numbered.sweep, specs, tracker) if tracker else None
    with _signals(run, observer) as signals, _forwarding(run, forwarder):
        try:
            with following(run, observer, forwarder):
                _rounds(run, launcher)
        except KeyboardInterrupt:
            observer.note("ended at once; `bnsweep resume` continues from the last checkpoints")
        finally:
            launcher.close()
        backlog = _drain(forwarder, DRAIN_S / 6 if signals else DRAIN_S, observer)
    statuses = run.statuses()
    observer.update(statuses)
    return Outcome(numbered.number, tuple(statuses), run.stop is not None, backlog)


def _record(store: Store, launch: Launch, weights: Mapping[str, Path]) -> Launch:
    """The launch with its number, once the store holds all that a resume needs."""
    store.open_for_writing()
    try:
        store.keep_weights(weights)
        return store.record_launch(launch)
    except OSError as error:
        raise UnreachableError(
            f"store {store.root}: {error.strerror}; nothing was started"
        ) from error


@contextlib.contextmanager
def _forwarding(run: Run, forwarder: Forwarder | None) -> Iterator[None]:
    """Forward while the launch runs; one with nothing to do or to send starts nothing."""
    if forwarder is None:
        yield
        return
    todo = next_round(run)
    if todo.run or todo.others or forwarder.backlog().trials:
        forwarder.start()
    try:
        yield
    finally:
        forwarder.close()


def _drain(forwarder: Forwarder | None, timeout_s: float, observer: Observer) -> Backlog:
    if forwarder is None:
        return Backlog()
    backlog = forwarder.backlog()
    if backlog.trials:
        observer.note("sending the last metrics to the tracker")
        backlog = forwarder.drain(timeout_s)
    return backlog


def _rounds(run: Run, launcher: Launcher) -> None:
    fruitless = 0
    while run.stop is None:
        attempts = {s.trial_id: run.store.attempts(s.trial_id) for s in run.specs}
        todo = next_round(run)
        if todo.run:
            _pause(run, todo.pause_s)
            smallest = min(map(costs.trial_bytes, todo.run))
            run.store.check_room(run.launch.sweep, smallest)
            launcher.run(jobs(run, todo))
            after = {s.trial_id: run.store.attempts(s.trial_id) for s in run.specs}
            fruitless = 0 if after != attempts else fruitless + 1
            if fruitless == FRUITLESS_ROUNDS:
                log = run.store.launch_log(run.launch.sweep, run.launch.number)
                raise UnreachableError(f"no worker could be started; the reason is in {log}")
        elif todo.others and run.order.wait:
            time.sleep(1.0)
        else:
            return


@contextlib.contextmanager
def _signals(run: Run, observer: Observer) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM end the trials after their step; a second one ends at once.

    Yields the list of signals that came.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def on_signal(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1 or run.overdue:
            raise KeyboardInterrupt
        try:
            request_stop(run.store, run.launch.sweep, run.launch.number, "now")
        except OSError as error:  # a full disk
            observer.note(f"trials cannot be told to stop ({error}); once more to end at once")
            return
        observer.note(
            "stopping: running trials end after their step, with a checkpoint "
            "(once more to end at once)"
        )

    before = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def request_stop(
    store: Store, sweep: str, launch: int, mode: StopMode, trials: Sequence[str] = ()
) -> None:
    """Ask the launch, and those before it, to stop: all its trials or only some."""
    store.request_stop(sweep, Stop(launch=launch, mode=mode, trials=tuple(trials)))


def _pause(run: Run, seconds: float) -> None:
    until = time.monotonic() + seconds
    while run.stop is None and (left := until - time.monotonic()) > 0:
        time.sleep(min(0.5, left))
