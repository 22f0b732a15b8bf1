"""Launching: rounds over the store until nothing is left to run.

Read the states, run what is missing through a launcher, read again. `launch` believes the store,
never what a launcher returns. Every retry is decided here, between rounds, by `failures.decide`.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator import machine
from orchestrator.errors import UnreachableError
from orchestrator.launching import source_code
from orchestrator.launching.interrupts import Interrupts
from orchestrator.launching.monitor import Observer, following
from orchestrator.launching.rounds import Order, RunningLaunch, next_round, pack_tasks
from orchestrator.launching.standard_output import output_to
from orchestrator.launching.worker import PackTask, run_pack
from orchestrator.planning import costs
from orchestrator.settings import Settings
from orchestrator.store import permissions
from orchestrator.store.records import STATES, Launch, Stop, StopMode, TrialStatus
from orchestrator.store.store import Store
from orchestrator.sweep.resources import Resources
from orchestrator.sweep.sweep_spec import SweepSpec
from orchestrator.tracking.forwarder import Backlog, Forwarder
from orchestrator.tracking.tracker import Tracker

_log = logging.getLogger(__name__)
DRAIN_S = 30.0
"""How long a launch sends what is left at its end (less after a signal)."""
FRUITLESS_ROUNDS = 3
"""So many rounds in which no trial was even begun mean that no worker can start."""


class Launcher(Protocol):
    """Runs tasks somewhere. What became of the trials the store tells, never a return value.

    `tests/contracts/test_launcher.py` holds what every launcher must do.
    """

    def run(self, tasks: Sequence[PackTask]) -> None:
        """Call `worker.run_pack` once with each task, as many side by side as the machines can.

        What it has to say meanwhile it logs to a logger below `orchestrator.launching`, as INFO:
        the launch's observer is told. Returns when all have ended, in whatever way. An exception
        ends the launch.
        """

    def close(self) -> None:
        """End every process that was started."""


class InlineLauncher:
    """In this process, one trial after another: for debugging and for tests."""

    def run(self, tasks: Sequence[PackTask]) -> None:
        """Run the tasks in order."""
        for task in tasks:
            run_pack(task)

    def close(self) -> None:
        """Nothing was started."""


def inline_launcher(_: Resources) -> Launcher:
    """The launcher of this name; it takes what the machine has."""
    return InlineLauncher()


@dataclass(frozen=True)
class Outcome:
    """How a launch ended."""

    launch: int
    statuses: tuple[TrialStatus, ...]
    stopped: bool
    backlog: Backlog
    """What the tracker lacks; it never changes the exit code."""
    seconds: float
    """How long the launch took."""
    stop_cause: str = ""
    """Why the launch stopped itself; see `Stop`."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials in each state."""
        states = [s.state for s in self.statuses]
        return {state: states.count(state) for state in STATES}

    @property
    def exit_code(self) -> int:
        """0 all finished, 1 some failed, 4 stopped or incomplete; see docs/contracts.md."""
        counts = self.counts
        if counts["finished"] == len(self.statuses):  # a stop that came too late
            return 0
        if self.stopped or counts["pending"] or counts["running"] or counts["stopped"]:
            return 4
        return 1 if counts["failed"] else 0


def launch(
    sweep: SweepSpec,
    settings: Settings,
    launcher: Callable[[], Launcher],
    *,
    order: Order | None = None,
    observer: Observer | None = None,
    tracker: Tracker | Callable[[], Tracker] | None = None,
    output_to_log: bool = False,
) -> Outcome:
    """Run what is missing or unfinished of the sweep, and return how it ended.

    `launcher` is called when there is something to run. `tracker` may be a function, too: it is
    then called in the forwarder's thread. `output_to_log`: standard output and error lead into the
    launch's log meanwhile.

    Raises UnreachableError where the store cannot be written or no worker can start.
    """
    begun, store = time.monotonic(), Store(settings.store)
    record = _record(store, sweep, settings)
    order, observer = order or Order(), observer or Observer()
    running = RunningLaunch(store, settings, record, order)
    running.begun_with = {t: max(numbers, default=0) for t, numbers in running.attempts().items()}
    observer.started(record, running.statuses())
    forwarder = Forwarder(store, sweep.name, sweep.trials, tracker) if tracker else None
    with (
        output_to(running.log) if output_to_log else contextlib.nullcontext(),
        Interrupts(lambda: _ask_to_stop(running, observer)) as interrupts,
        _told(observer),
        _forwarding(running, forwarder),
    ):
        try:
            with following(running, observer, forwarder, interrupts.end_at_once):
                _rounds(running, launcher)
        except KeyboardInterrupt:
            observer.note("ended at once; `bnsweep resume` continues from the last checkpoints")
        drain_s = DRAIN_S / 6 if interrupts.signalled else DRAIN_S
        backlog = _drain(forwarder, drain_s, observer)
    running.forget_what_is_gone()
    statuses = running.statuses()
    observer.update(statuses)
    seconds = time.monotonic() - begun
    stop = running.stop
    cause = stop.cause if stop else ""
    return Outcome(record.number, tuple(statuses), stop is not None, backlog, seconds, cause)


class _Telling(logging.Handler):
    def __init__(self, observer: Observer) -> None:
        super().__init__(logging.INFO)
        self._observer = observer

    def emit(self, record: logging.LogRecord) -> None:
        self._observer.note(record.getMessage())


@contextlib.contextmanager
def _told(observer: Observer) -> Iterator[None]:
    """What launchers log is told to the observer."""
    logger, handler = logging.getLogger("orchestrator.launching"), _Telling(observer)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _record(store: Store, sweep: SweepSpec, settings: Settings) -> Launch:
    """Number the launch, once the store holds all that a resume needs."""
    launch = Launch(
        number=0,
        time_ms=time.time_ns() // 1_000_000,
        user=machine.user_name(),
        host=socket.gethostname(),
        sweep=sweep.model_copy(update={"files": {}}),  # from here on they are the store's
        data=str(settings.data),
        commit=source_code.commit(),
    )
    store.open_for_writing()
    try:
        store.keep_weights(sweep.files)
        if sweep.code and not store.code(sweep.code.sha256):
            store.keep_code(sweep.code.sha256, sweep.code.path)
        return store.record_launch(launch)
    except OSError as error:
        said = permissions.denial(error) or f"store {store.root}: {error.strerror}"
        raise UnreachableError(f"{said}; nothing was started") from error


@contextlib.contextmanager
def _forwarding(launch: RunningLaunch, forwarder: Forwarder | None) -> Iterator[None]:
    """Forward while the launch runs; one with nothing to do or to send starts nothing."""
    if forwarder is None:
        yield
        return
    todo = next_round(launch)
    if todo.trials or todo.others or forwarder.backlog().trials:
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


def _rounds(launch: RunningLaunch, make_launcher: Callable[[], Launcher]) -> None:
    """Run what may run and look again, until nothing is left or the launch is to stop."""
    launcher: Launcher | None = None
    fruitless, left = 0, 0
    try:
        while launch.stop is None:
            todo = next_round(launch)
            if len(todo.others_own) > left:
                left = len(todo.others_own)
                why = next(iter(todo.others_own.values()))
                _log.info("%d unfinished trials are left alone: the first %s", left, why)
            if todo.trials:
                _pause(launch, todo.pause_s)
                smallest = min(map(costs.trial_bytes, todo.trials))
                launch.store.check_disk_space(launch.record.sweep.name, smallest)
                attempts = launch.attempts()
                launcher = launcher or make_launcher()
                launcher.run(pack_tasks(launch, todo))
                fruitless = fruitless + 1 if launch.attempts() == attempts else 0
                if fruitless == FRUITLESS_ROUNDS:
                    raise UnreachableError(
                        f"no worker could be started; the reason is in {launch.log}"
                    )
            elif todo.others and launch.order.wait:
                time.sleep(1.0)
            else:
                return
    finally:
        if launcher is not None:
            launcher.close()


def _pause(launch: RunningLaunch, seconds: float) -> None:
    until = time.monotonic() + seconds
    while launch.stop is None and (left := until - time.monotonic()) > 0:
        time.sleep(min(0.5, left))


def _ask_to_stop(launch: RunningLaunch, observer: Observer) -> None:
    """What the first Ctrl-C or SIGTERM does."""
    try:
        request_stop(launch.store, *launch.key, "now")
    except OSError as error:  # a full disk
        observer.note(f"trials cannot be told to stop ({error}); once more to end at once")
        return
    observer.note(
        "stopping: running trials end after their step, with a checkpoint "
        "(once more to end at once)"
    )


def request_stop(
    store: Store, sweep: str, launch: int, mode: StopMode, trials: Sequence[str] = ()
) -> None:
    """Ask the launch, and those before it, to stop: all its trials or only some."""
    store.request_stop(sweep, Stop(launch=launch, mode=mode, trials=tuple(trials)))
