"""Makes one trial's run in the tracker equal what the trial's folder says.

If what was sent is no longer a prefix of the journal (an epoch replayed with other values after a
damaged checkpoint, a discarded trial), the run is built anew: no point is ever stored twice and no
dead trajectory stays.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.errors import UnreachableError
from orchestrator.store.store import Store
from orchestrator.tracking import cursor
from orchestrator.tracking.cursor import Cursor
from orchestrator.tracking.desired import Wanted, artifacts_of, differences, mark_of, stamp, wanted
from orchestrator.tracking.lease import Lease
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
from orchestrator.tracking.vacancies import Vacancies
from trainer.journal import Record
from trainer.spec import TrialSpec

Notes = deque[str]

_log = logging.getLogger(__name__)


class Mirror:
    """Sends trials of one sweep to one experiment."""

    def __init__(
        self,
        store: Store,
        sweep: str,
        tracker: Tracker,
        experiment: Experiment,
        lease: Lease,
        vacancies: Vacancies,
        notes: Notes,
    ) -> None:
        self._store, self._sweep = store, sweep
        self._tracker, self._experiment = tracker, experiment
        self._lease, self._vacancies, self._notes = lease, vacancies, notes

    def update(self, spec: TrialSpec, mark: str) -> None:
        """Send what is lacking of the trial. `mark` was taken before, so what changes meanwhile is
        seen at the next look. A run found to be gone is looked up or made again, once."""
        at = cursor.load(self._store, self._sweep, spec.trial_id, self._experiment.key)
        if at.settled == mark and not at.doubt:
            return
        try:
            try:
                self._equalise(at, wanted(self._store, spec), mark)
            except RunGone:
                at.doubt = True
                self._equalise(at, wanted(self._store, spec), mark)
        except Exception:
            at.doubt = True
            self._save(at, spec)
            raise

    def doubt_what_differs(self, specs: Mapping[str, TrialSpec]) -> None:
        """Compare the tracker's runs with the folders and forget the cursors of those that differ,
        so that `update` sends them again. One listing: a run costs about 2 ms, not a request."""
        found: dict[str, list[Run]] = {}
        for run in self._tracker.runs(self._experiment, self._store.identity):
            found.setdefault(run.trial_id, []).append(run)
        for trial_id in self._of_no_trial(found, specs):
            for run in found[trial_id]:
                self._tracker.remove(run.run_id)
                self._note(f"{trial_id or run.name}: no launch names it; its run was removed")
        for trial_id, spec in specs.items():
            at = cursor.load(self._store, self._sweep, trial_id, self._experiment.key)
            recheck = cursor.recheck_path(self._store, self._sweep, trial_id)
            if not recheck.exists() and self._as_sent(at, spec, found.get(trial_id, [])):
                continue
            run_id = at.run_id
            self._forget(at)
            at.run_id, at.doubt = run_id, True
            self._save(at, spec)
            recheck.unlink(missing_ok=True)

    def _of_no_trial(
        self, found: Mapping[str, list[Run]], specs: Mapping[str, TrialSpec]
    ) -> set[str]:
        """Those with runs that no launch names: none where a launch cannot be read.

        Read after the runs: a launch is written down before its trials begin.
        """
        strange = found.keys() - specs.keys()
        if not strange or self._store.unreadable_launches(self._sweep):
            return set()
        return strange - {spec.trial_id for spec in self._store.launched(self._sweep)}

    def _as_sent(self, at: Cursor, spec: TrialSpec, runs: list[Run]) -> bool:
        """Whether the trial has the run that its cursor says, with what was sent last."""
        if [run.run_id for run in runs] != [at.run_id] * bool(at.run_id):
            return False
        if not runs or at.settled != mark_of(self._store, spec.trial_id):
            return True  # not sent to its end yet: `update` has to do with it anyway
        trial = wanted(self._store, spec)
        return differences(runs[0], self._sweep, self._store.identity, trial) == []

    def _equalise(self, at: Cursor, trial: Wanted, mark: str) -> None:
        discarded = trial.status.state == "pending" and at.run_id
        if discarded or not at.fits(trial.records):
            self._rebuild(at, trial)
        if trial.nothing and not at.run_id:
            if at.doubt:
                self._remove_runs(trial)
            if at.doubt or mark:
                at.settled, at.doubt = mark, False
                self._save(at, trial.spec)
            return
        self._find_or_create(at, trial)
        self._send_records(at, trial)
        self._send_artifacts(at, trial)
        self._send_state(at, trial)
        if at.lost_create and trial.status.state != "running":
            at.lost_create = False
            if len(list(self._runs(trial))) > 1:
                raise RunGone(f"{trial.spec.trial_id}: has a second run")  # looked up once more
        at.settled = mark
        self._save(at, trial.spec, durable=False)

    # -- the run ---------------------------------------------------------------------------------

    def _rebuild(self, at: Cursor, trial: Wanted) -> None:
        self._remove_runs(trial)
        if at.run_id:
            self._note(f"{trial.spec.trial_id}: its history changed; its run is built anew")
        self._forget(at)
        self._save(at, trial.spec)

    def _remove_runs(self, trial: Wanted) -> None:
        for run in list(self._runs(trial)):
            self._tracker.remove(run.run_id)

    def _find_or_create(self, at: Cursor, trial: Wanted) -> None:
        if at.run_id and not at.doubt:
            self._claim(at, trial)
            return
        new = not (at.run_id or at.doubt) and self._vacancies.certain(trial.spec.trial_id)
        found = [] if new else list(self._runs(trial))
        for surplus in found[1:]:
            self._tracker.remove(surplus.run_id)
            self._note(f"{trial.spec.trial_id}: had a second run, which was removed")
        if not found and at.run_id:
            self._bring_back(at, trial)
        elif found and (found[0].run_id != at.run_id or at.sent == 0):
            self._adopt(at, trial, found[0])
        self._claim(at, trial)
        if not at.run_id:
            self._create(at, trial)
        at.doubt = False

    def _create(self, at: Cursor, trial: Wanted) -> None:
        """A new run. Its tags are sent with it, so that a lost answer does not lose the run."""
        if not self._lease.take():
            raise RunGone(f"{trial.spec.trial_id}: another process sends this sweep now")
        tags = self._tags(trial)
        self._vacancies.fill(trial.spec.trial_id)
        try:
            at.run_id = self._tracker.create(
                self._experiment, trial.spec.trial_id, tags, trial.started_ms
            )
        except UnreachableError:
            at.lost_create = True
            raise
        at.tags, at.status = tags, "RUNNING"
        self._save(at, trial.spec)

    def _adopt(self, at: Cursor, trial: Wanted, run: Run) -> None:
        """Go on with a run of which nothing is known, if it holds no dead trajectory."""
        self._forget(at)
        points = self._tracker.points(run.run_id) if run.latest else []
        stored = {point.identity for point in points}
        params = params_of(trial.spec)
        fits = all(params.get(name, value) == value for name, value in run.params.items())
        if fits and stored <= {point.identity for point in points_of(trial.records)}:
            at.run_id, at.tags, at.status = run.run_id, dict(run.tags), run.status
        else:
            self._tracker.remove(run.run_id)
            self._note(f"{trial.spec.trial_id}: its run had other values; it is built anew")

    def _bring_back(self, at: Cursor, trial: Wanted) -> None:
        if self._tracker.restore(at.run_id):
            self._note(f"{trial.spec.trial_id}: its run had been deleted and was restored")
        else:
            self._note(f"{trial.spec.trial_id}: its run had been deleted; it is sent again")
            self._forget(at)

    def _claim(self, at: Cursor, trial: Wanted) -> None:
        """Write down what may arrive from now on, before it is sent."""
        if at.claimed < len(trial.records):
            at.claimed, at.digest = len(trial.records), cursor.digest(trial.records)
            if at.run_id:
                self._save(at, trial.spec)

    def _forget(self, at: Cursor) -> None:
        fresh = Cursor(tracker=at.tracker, lost_create=at.lost_create)
        for name in Cursor.model_fields:
            setattr(at, name, getattr(fresh, name))

    # -- its content -----------------------------------------------------------------------------

    def _send_records(self, at: Cursor, trial: Wanted) -> None:
        params = {} if at.described else params_of(trial.spec)
        for records in _batches(trial.records[at.sent :]):
            self._tracker.send(at.run_id, points_of(records), params)
            at.sent, at.described, params = at.sent + len(records), True, {}
        if params:
            self._tracker.send(at.run_id, params=params)
            at.described = True

    def _send_artifacts(self, at: Cursor, trial: Wanted) -> None:
        for path, folder in artifacts_of(self._store, trial.status):
            name = f"{folder}/{path.name}".lstrip("/")
            now = stamp(path)
            if now and at.artifacts.get(name) != now:
                self._tracker.upload(at.run_id, path, folder)
                at.artifacts[name] = now

    def _send_state(self, at: Cursor, trial: Wanted) -> None:
        tags = self._tags(trial)
        # what no longer holds is emptied: a retried trial that finished has no cause
        lacking = {name: "" for name in FAILURE_TAGS if at.tags.get(name) and name not in tags}
        lacking |= {name: value for name, value in tags.items() if at.tags.get(name) != value}
        if lacking:
            self._tracker.send(at.run_id, tags=lacking)
            at.tags = tags
        status = f"{status_of(trial.status.state)} {trial.ended_ms}"
        if at.status not in (status, status.removesuffix(" None")):
            self._tracker.set_status(at.run_id, status_of(trial.status.state), trial.ended_ms)
            at.status = status

    # -- small -----------------------------------------------------------------------------------

    def _runs(self, trial: Wanted) -> Iterator[Run]:
        return self._tracker.runs(self._experiment, self._store.identity, trial.spec.trial_id)

    def _tags(self, trial: Wanted) -> dict[str, str]:
        state = trial.status.state
        return tags_of(self._sweep, self._store.identity, trial.spec, state, trial.failure)

    def _save(self, at: Cursor, spec: TrialSpec, *, durable: bool = True) -> None:
        cursor.save(self._store, self._sweep, spec.trial_id, at, durable=durable)

    def _note(self, note: str) -> None:
        _log.warning("%s", note)
        self._notes.append(note)


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
