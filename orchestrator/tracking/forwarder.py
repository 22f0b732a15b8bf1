"""Copies the journals of a sweep's trials to a tracker.

    Forwarder   when to send: one for a sweep, in a thread of its own, patient with a dead tracker
    Mirror      what to send: makes a trial's run equal its journal (mirror.py)

Training never waits for it and it never raises into the sweep. What it could not deliver is named
and stays in the store; `sync` sends it later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orchestrator import machine
from orchestrator.errors import BnsweepError, UnreachableError
from orchestrator.store.ownership import Lease
from orchestrator.store.store import Store
from orchestrator.tracking.cursor import Cursor
from orchestrator.tracking.desired import nothing_to_send, trial_fingerprint
from orchestrator.tracking.mirror import Mirror
from orchestrator.tracking.tracker import Experiment, Refused, RunGone, Tracker
from trainer.spec import TrialSpec

INTERVAL_S = 5.0
LONGEST_PAUSE_S = 60.0
CPU_SHARE = 0.05
"""At most this share of the CPUs that the process may use, by longer pauses after longer passes."""
FAILURES_IN_A_ROW = 3
"""So many trials refused one after another: the tracker is broken, not the trials."""
CHECK_S = 10.0
LEASE_WAIT_S = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backlog:
    """What the tracker lacks."""

    trials: int = 0
    """Trials of which something is lacking."""
    records: int = 0
    """Journal records among it; the rest is states and artifacts."""
    problem: str = ""
    """Why, in a line; empty where nothing is wrong."""
    notes: tuple[str, ...] = ()
    """What a person should know, such as a run that was deleted by hand."""

    @property
    def empty(self) -> bool:
        """Whether the tracker has everything."""
        return self.trials == 0


class Forwarder:
    """Follows the journals of the sweep's trials, whoever trains them.

    `tracker` may also be a function that makes it: then it is called in the forwarder's thread,
    so that importing an MLflow client does not delay a launch.
    """

    def __init__(
        self,
        store: Store,
        sweep_name: str,
        trial_specs: Iterable[TrialSpec],
        tracker: Tracker | Callable[[], Tracker],
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._store, self._sweep, self._interval_s = store, sweep_name, interval_s
        self._specs = {spec.trial_id: spec for spec in trial_specs}
        self._launches = 0
        """The newest launch whose trials are among them."""
        self._tracker = tracker
        self._experiment: Experiment | None = None
        self._lease = Lease(store, sweep_name)
        self._mirror: Mirror | None = None
        self._settled: dict[str, str] = {}
        """Trial id and the fingerprint with which all of it was sent: no file is read for those."""
        self._notes: deque[str] = deque(maxlen=100)
        self._failures = 0
        self._problem = ""
        self._other = ""
        """Host and process that sends this sweep in our place."""
        self._thread: threading.Thread | None = None
        self._wake, self._over = threading.Event(), threading.Event()
        self._drained = threading.Event()

    # -- the thread ------------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        """Why the tracker is not reached, in a line; empty while it is."""
        return self._problem

    def start(self) -> None:
        """Begin to forward in a thread."""
        self._thread = threading.Thread(target=self._follow, name="forwarder", daemon=True)
        self._thread.start()

    def drain(self, timeout_s: float = 30.0) -> Backlog:
        """Send what there is now, for at most the time; what is still lacking then.

        Returns early where the tracker is not reached: waiting would not help.
        """
        if self._thread is None:
            self._pass()
        else:
            self._drained.clear()
            self._wake.set()
            self._drained.wait(timeout_s)
        return self.backlog()

    def close(self, timeout_s: float = 2.0) -> None:
        """End the thread and give the lease back. A call under way is left to itself: the thread
        gives the lease back after it."""
        self._over.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        else:
            self._lease.release()

    def _follow(self) -> None:
        pause_s = 0.0
        while not self._over.is_set():
            asked = self._wake.wait(pause_s)
            self._wake.clear()
            before = time.thread_time()
            self._pass()
            spent_s = time.thread_time() - before
            if asked:
                self._drained.set()
            pause_s = self._pause_s(spent_s)
        self._lease.release()

    def _pause_s(self, spent_s: float) -> float:
        if self._failures:
            return min(LONGEST_PAUSE_S, self._interval_s * 2.0 ** min(self._failures, 8))
        return max(self._interval_s, spent_s / (CPU_SHARE * machine.cpu_count()))

    # -- a pass ----------------------------------------------------------------------------------

    def pass_once(self) -> Backlog:
        """Send everything that is lacking now; never raises. What is lacking afterwards."""
        self._pass()
        return self.backlog()

    def _pass(self) -> None:
        """One look at every trial; on return `_problem` says whether something was in the way."""
        try:
            self._take_in_launches()
            self._other = "" if self._lease.take() else self._lease.holder()
            if not self._other and not self._idle():
                self._send_all()
            self._problem, self._failures = "", 0
        except BnsweepError as error:  # also what the tracker refuses
            self._fail(error.lines[0])
        except OSError as error:
            self._fail(f"store {self._store.root}: {error}")
        except Exception as error:  # whatever it is, the sweep goes on and `sync` is named
            _log.exception("forwarding failed")
            self._fail(f"{type(error).__name__}: {error}")

    def _take_in_launches(self) -> None:
        """Also the trials of launches before and since: while this process has the lease, nobody
        else sends them."""
        for number in self._store.launch_numbers(self._sweep):
            launch = self._store.launch(self._sweep, number) if number > self._launches else None
            if launch is not None:
                self._specs = {spec.trial_id: spec for spec in launch.specs} | self._specs
                self._launches = number

    def _fail(self, problem: str) -> None:
        if not self._failures:
            _log.warning("%s", problem)
        self._failures += 1
        self._problem = problem

    def _idle(self) -> bool:
        """Whether there is no reason yet to reach for the tracker, whose client takes a second of
        the time in which workers start."""
        fingerprints = (trial_fingerprint(self._store, trial_id) for trial_id in self._specs)
        return self._experiment is None and all(map(nothing_to_send, fingerprints))

    def _send_all(self) -> None:
        mirror = self._mirror_of_sweep()
        refused: list[str] = []
        in_a_row = 0
        for trial_id in list(self._specs):
            if self._over.is_set():
                return
            fingerprint = trial_fingerprint(self._store, trial_id)
            if self._settled.get(trial_id) == fingerprint:
                continue
            try:
                mirror.update(self._specs[trial_id], fingerprint)
                self._settled[trial_id] = fingerprint
                in_a_row = 0
            except (Refused, RunGone) as error:
                refused.append(f"{trial_id}: {error.lines[0]}")
                in_a_row += 1
                if in_a_row == FAILURES_IN_A_ROW:
                    break
        if refused:
            raise UnreachableError(*refused)

    def _mirror_of_sweep(self) -> Mirror:
        if callable(self._tracker):
            self._tracker = self._tracker()
        experiment = self._tracker.open(self._sweep)
        if self._experiment and experiment.key != self._experiment.key:
            self._settled.clear()
            self._note(f"experiment {self._sweep}: is a new one; everything is sent again")
        self._experiment = experiment
        mirror = self._mirror
        if mirror is None or not mirror.serves(experiment):
            mirror = Mirror(
                self._store, self._sweep, self._tracker, experiment, self._lease, self._note
            )
            self._mirror = mirror
        if experiment.restored:  # and with it all its runs, also those that were removed before
            self._note(f"experiment {self._sweep}: had been deleted in MLflow and was restored")
            mirror.doubt_what_differs(self._specs)
            self._settled.clear()
        return mirror

    def _note(self, note: str) -> None:
        _log.warning("%s", note)
        self._notes.append(note)

    def verify(self) -> bool:
        """Have the next pass send again what the tracker does not have as it was sent. False
        where another process holds the lease. Raises UnreachableError."""
        if not self._lease.take():
            return False
        self._mirror_of_sweep().doubt_what_differs(self._specs)
        self._settled.clear()
        return True

    # -- what is lacking -------------------------------------------------------------------------

    def backlog(self) -> Backlog:
        """What the tracker lacks now, by the cursors in the store."""
        trials = records = 0
        for trial_id in self._specs:
            lacking = self._lacking(trial_id)
            trials += lacking is not None
            records += lacking or 0
        problem = self._problem
        if self._other:
            problem = f"another process is sending this sweep ({self._other})"
        return Backlog(trials, records, problem if trials else "", tuple(self._notes))

    def _lacking(self, trial_id: str) -> int | None:
        """Records that lack of a trial, 0 where only its state or artifacts do; None: nothing."""
        fingerprint = trial_fingerprint(self._store, trial_id)
        if self._settled.get(trial_id) == fingerprint:
            return None
        key = self._experiment.key if self._experiment else None
        cursor = Cursor.load(self._store, self._sweep, trial_id, key)
        all_sent = bool(fingerprint) and cursor.settled == fingerprint
        nothing_at_all = nothing_to_send(fingerprint) and not cursor.run_id
        if (all_sent or nothing_at_all) and not cursor.doubt:
            return None
        return max(0, len(self._store.journal(trial_id)) - cursor.sent)


def sync(store: Store, sweep: str, tracker: Tracker) -> Backlog:
    """Send what the tracker lacks of all a sweep's launches; what could not be sent, and why.

    Trials whose run was deleted by hand are sent again. Raises UnreachableError where the tracker
    is not reached. A launch that is sending the sweep right now is waited for a little.
    """
    tracker.check(CHECK_S)
    forwarder = Forwarder(store, sweep, store.launched(sweep), tracker)
    deadline = time.monotonic() + LEASE_WAIT_S
    try:
        while not forwarder.verify() and time.monotonic() < deadline:
            time.sleep(0.2)
        return forwarder.pass_once()
    finally:
        forwarder.close()
