"""Makes one trial's run in the tracker equal what the trial's folder says.

If what was sent is no longer a prefix of the journal (an epoch replayed with other values after a
damaged checkpoint, a discarded trial), the run is built anew: no point is ever stored twice and no
dead trajectory stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from orchestrator.errors import UnreachableError
from orchestrator.store.ownership import Lease
from orchestrator.store.store import Store
from orchestrator.tracking.cursor import Cursor, digest, recheck_path
from orchestrator.tracking.desired import (
    DesiredRun,
    artifacts_of,
    differences,
    file_fingerprint,
    trial_fingerprint,
)
from orchestrator.tracking.shown import Shown, counts_of, data_of
from orchestrator.tracking.tracker import (
    FAILURE_TAGS,
    POINTS_A_CALL,
    Experiment,
    Run,
    RunGone,
    Tracker,
    params_of,
    points_of,
    status_of,
    tags_of,
)
from trainer.journal import Record
from trainer.spec import TrialSpec

LISTED = 1000
"""Where a store has so many runs in an experiment, a listing costs more than it saves."""


class Mirror:
    """Sends trials of one sweep to one experiment, during one holding of the lease."""

    def __init__(
        self,
        store: Store,
        sweep: str,
        tracker: Tracker,
        experiment: Experiment,
        lease: Lease,
        note: Callable[[str], None],
    ) -> None:
        """`note` is told what a person should know."""
        self._store, self._sweep = store, sweep
        self._tracker, self._experiment = tracker, experiment
        self._lease, self._lease_number, self._note = lease, lease.number, note
        self._shown = Shown(store, sweep)
        self._introduced = False
        self._trials_with_run: set[str] | None = None
        """From one listing, made when it is first needed, and the runs created since. None: not
        listed yet."""
        self._listing_is_complete = False

    def serves(self, experiment: Experiment) -> bool:
        """Whether it sends to this experiment and the lease was held ever since it was made."""
        held = self._lease.take() and self._lease.number == self._lease_number
        return held and experiment.key == self._experiment.key

    def update(self, spec: TrialSpec, fingerprint: str) -> None:
        """Send what is lacking of the trial. Its `fingerprint` was taken before, so that what
        changes meanwhile is seen at the next look. A run found to be gone is looked up or made
        again, once."""
        cursor = self._load(spec.trial_id)
        if cursor.settled == fingerprint and not cursor.doubt:
            return
        for attempt in (1, 2):
            try:
                return self._equalise(cursor, DesiredRun.read(self._store, spec), fingerprint)
            except Exception as error:
                cursor.doubt = True
                if attempt == 2 or not isinstance(error, RunGone):
                    self._save(cursor, spec)
                    raise

    def doubt_what_differs(self, specs: Mapping[str, TrialSpec]) -> None:
        """Compare the tracker's runs with the folders and forget the cursors of those that differ,
        so that `update` sends them again. One listing: a run costs about 2 ms, not a request."""
        runs: dict[str, list[Run]] = {}
        for run in self._tracker.runs(self._experiment, self._store.identity):
            runs.setdefault(run.trial_id, []).append(run)
        for trial_id in self._of_no_trial(runs, specs):
            for run in runs[trial_id]:
                self._tracker.remove(run.run_id)
                self._note(f"{trial_id or run.name}: no launch names it; its run was removed")
        for trial_id, spec in specs.items():
            cursor = self._load(trial_id)
            recheck = recheck_path(self._store, self._sweep, trial_id)
            if not recheck.exists() and self._as_sent(cursor, spec, runs.get(trial_id, [])):
                continue
            run_id = cursor.run_id
            self._forget(cursor)
            cursor.run_id, cursor.doubt = run_id, True
            self._save(cursor, spec)
            recheck.unlink(missing_ok=True)

    def _of_no_trial(
        self, runs: Mapping[str, list[Run]], specs: Mapping[str, TrialSpec]
    ) -> set[str]:
        """Those with runs that no launch names: none where a launch cannot be read.

        Read after the runs: a launch is written down before its trials begin.
        """
        unnamed = runs.keys() - specs.keys()
        if not unnamed or self._store.unreadable_launches(self._sweep):
            return set()
        return unnamed - {spec.trial_id for spec in self._store.launched(self._sweep)}

    def _as_sent(self, cursor: Cursor, spec: TrialSpec, runs: list[Run]) -> bool:
        """Whether the trial has the run that its cursor says, with what was sent last."""
        if [run.run_id for run in runs] != [cursor.run_id] * bool(cursor.run_id):
            return False
        if not runs or cursor.settled != trial_fingerprint(self._store, spec.trial_id):
            return True  # not sent to its end yet: `update` has to do with it anyway
        desired = DesiredRun.read(self._store, spec)
        return differences(runs[0], self._sweep, self._store.identity, desired) == []

    def _equalise(self, cursor: Cursor, desired: DesiredRun, fingerprint: str) -> None:
        discarded = desired.status.state == "pending" and cursor.run_id
        if discarded or not cursor.fits(desired.records):
            self._rebuild(cursor, desired)
        if desired.is_empty and not cursor.run_id:
            if cursor.doubt:
                self._remove_runs(desired)
            if cursor.doubt or fingerprint:
                cursor.settled, cursor.doubt = fingerprint, False
                self._save(cursor, desired.spec)
            return
        self._find_or_create(cursor, desired)
        self._send_records(cursor, desired)
        self._send_measured(cursor, desired)
        self._send_artifacts(cursor, desired)
        self._send_state(cursor, desired)
        if cursor.lost_create and desired.status.state != "running":
            cursor.lost_create = False
            if len(list(self._runs(desired))) > 1:
                raise RunGone(f"{desired.spec.trial_id}: has a second run")  # looked up once more
        cursor.settled = fingerprint
        self._save(cursor, desired.spec, durable=False)

    # -- the run ---------------------------------------------------------------------------------

    def _rebuild(self, cursor: Cursor, desired: DesiredRun) -> None:
        self._remove_runs(desired)
        if cursor.run_id:
            self._note(f"{desired.spec.trial_id}: its history changed; its run is built anew")
        self._forget(cursor)
        self._save(cursor, desired.spec)

    def _remove_runs(self, desired: DesiredRun) -> None:
        for run in list(self._runs(desired)):
            self._tracker.remove(run.run_id)

    def _find_or_create(self, cursor: Cursor, desired: DesiredRun) -> None:
        if cursor.run_id and not cursor.doubt:
            self._record_claim(cursor, desired)
            return
        new = not (cursor.run_id or cursor.doubt) and self._has_no_run(desired.spec.trial_id)
        runs = [] if new else list(self._runs(desired))
        for surplus in runs[1:]:
            self._tracker.remove(surplus.run_id)
            self._note(f"{desired.spec.trial_id}: had a second run, which was removed")
        if not runs and cursor.run_id:
            self._bring_back(cursor, desired)
        elif runs and (runs[0].run_id != cursor.run_id or cursor.sent == 0):
            self._adopt(cursor, desired, runs[0])
        self._record_claim(cursor, desired)
        if not cursor.run_id:
            self._create(cursor, desired)
        cursor.doubt = False

    def _has_no_run(self, trial_id: str) -> bool:
        """Whether there is certainly no run of the trial, so that a create needs no lookup.

        Only the lease's holder creates runs. Nothing is certain where the holder before was cut
        off: a create of its own may still arrive.
        """
        if not (self.serves(self._experiment) and self._lease.follows_cleanly):
            return False
        if self._trials_with_run is None:
            runs = list(islice(self._tracker.runs(self._experiment, self._store.identity), LISTED))
            self._listing_is_complete = len(runs) < LISTED
            self._trials_with_run = {run.trial_id for run in runs}
        return self._listing_is_complete and trial_id not in self._trials_with_run

    def _create(self, cursor: Cursor, desired: DesiredRun) -> None:
        """A new run. Its tags are sent with it, so that a lost answer does not lose the run."""
        if not self._lease.take():
            raise RunGone(f"{desired.spec.trial_id}: another process sends this sweep now")
        self._introduce()
        tags = self._tags(desired) | self._shown.tags(desired.spec)
        if self._trials_with_run is not None:
            self._trials_with_run.add(desired.spec.trial_id)
        try:
            cursor.run_id = self._tracker.create(
                self._experiment, self._shown.name(desired.spec), tags, desired.started_ms
            )
        except UnreachableError:
            cursor.lost_create = True
            raise
        cursor.tags, cursor.status = tags, "RUNNING"
        self._save(cursor, desired.spec)

    def _introduce(self) -> None:
        """Before the first run that is made here: what the experiment shows a person."""
        if not self._introduced:
            self._tracker.introduce(self._experiment, *self._shown.experiment())
            self._introduced = True

    def _adopt(self, cursor: Cursor, desired: DesiredRun, run: Run) -> None:
        """Go on with a run of which nothing is known, if it holds no dead trajectory."""
        self._forget(cursor)
        points = self._tracker.points(run.run_id) if run.latest else []
        stored = {point.identity for point in points}
        params = params_of(desired.spec)
        fits = all(params.get(name, value) == value for name, value in run.params.items())
        if fits and stored <= {point.identity for point in points_of(desired.records)}:
            cursor.run_id, cursor.tags, cursor.status = run.run_id, dict(run.tags), run.status
        else:
            self._tracker.remove(run.run_id)
            self._note(f"{desired.spec.trial_id}: its run had other values; it is built anew")

    def _bring_back(self, cursor: Cursor, desired: DesiredRun) -> None:
        if self._tracker.restore(cursor.run_id):
            self._note(f"{desired.spec.trial_id}: its run had been deleted and was restored")
        else:
            self._note(f"{desired.spec.trial_id}: its run had been deleted; it is sent again")
            self._forget(cursor)

    def _record_claim(self, cursor: Cursor, desired: DesiredRun) -> None:
        """Write down what may arrive from now on, before it is sent."""
        if cursor.claimed < len(desired.records):
            cursor.claimed, cursor.digest = len(desired.records), digest(desired.records)
            if cursor.run_id:
                self._save(cursor, desired.spec)

    def _forget(self, cursor: Cursor) -> None:
        fresh = Cursor(tracker=cursor.tracker, lost_create=cursor.lost_create)
        for name in Cursor.model_fields:
            setattr(cursor, name, getattr(fresh, name))

    # -- its content -----------------------------------------------------------------------------

    def _send_records(self, cursor: Cursor, desired: DesiredRun) -> None:
        params = {} if cursor.described else params_of(desired.spec)
        for records in _batches(desired.records[cursor.sent :]):
            self._tracker.send(cursor.run_id, points_of(records), params)
            cursor.sent, cursor.described, params = cursor.sent + len(records), True, {}
        if params:
            self._tracker.send(cursor.run_id, params=params)
            cursor.described = True

    def _send_measured(self, cursor: Cursor, desired: DesiredRun) -> None:
        """What only the result says: how many parameters, and which data."""
        if desired.status.state != "finished" or (cursor.counted and cursor.data_named):
            return
        if (result := self._store.summary(desired.spec.trial_id)) is None:
            return  # damaged since: not finished at the next look
        if not cursor.counted:
            self._tracker.send(cursor.run_id, params=counts_of(result))
            cursor.counted = True
        if not cursor.data_named:
            self._tracker.add_data(cursor.run_id, data_of(desired.spec, result))
            cursor.data_named = True

    def _send_artifacts(self, cursor: Cursor, desired: DesiredRun) -> None:
        for path, folder in artifacts_of(self._store, desired.status):
            name = f"{folder}/{path.name}".lstrip("/")
            now = file_fingerprint(path)
            if now and cursor.artifacts.get(name) != now:
                self._tracker.upload(cursor.run_id, path, folder)
                cursor.artifacts[name] = now

    def _send_state(self, cursor: Cursor, desired: DesiredRun) -> None:
        tags = self._tags(desired)
        # what no longer holds is emptied: a retried trial that finished has no cause
        lacking = {name: "" for name in FAILURE_TAGS if cursor.tags.get(name) and name not in tags}
        lacking |= {name: value for name, value in tags.items() if cursor.tags.get(name) != value}
        if lacking:
            self._tracker.send(cursor.run_id, tags=lacking)
            cursor.tags = tags
        status, ended_ms = status_of(desired.status.state), desired.ended_ms
        sent = f"{status} {ended_ms}"
        if cursor.status not in (sent, sent.removesuffix(" None")):
            self._tracker.set_status(cursor.run_id, status, ended_ms)
            cursor.status = sent

    # -- small -----------------------------------------------------------------------------------

    def _runs(self, desired: DesiredRun) -> Iterator[Run]:
        return self._tracker.runs(self._experiment, self._store.identity, desired.spec.trial_id)

    def _tags(self, desired: DesiredRun) -> dict[str, str]:
        state = desired.status.state
        return tags_of(self._sweep, self._store.identity, desired.spec, state, desired.failure)

    def _load(self, trial_id: str) -> Cursor:
        return Cursor.load(self._store, self._sweep, trial_id, self._experiment.key)

    def _save(self, cursor: Cursor, spec: TrialSpec, *, durable: bool = True) -> None:
        cursor.save(self._store, self._sweep, spec.trial_id, durable=durable)


def _batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Consecutive records, as many as make up to POINTS_A_CALL points."""
    begin = points = 0
    for end, record in enumerate(records):
        if end > begin and points + len(record.metrics) > POINTS_A_CALL:
            yield records[begin:end]
            begin, points = end, 0
        points += len(record.metrics)
    if begin < len(records):
        yield records[begin:]
