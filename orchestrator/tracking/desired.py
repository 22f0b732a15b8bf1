"""What a trial's folder says, and so what its run in the tracker is to be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestrator.store.failures import Failure
from orchestrator.store.folder import ATTEMPTS, ERROR, LOG
from orchestrator.store.records import TrialStatus
from orchestrator.store.store import Store
from orchestrator.tracking.tracker import (
    FAILURE_TAGS,
    Run,
    params_of,
    points_of,
    status_of,
    tags_of,
)
from trainer import results
from trainer.journal import Record
from trainer.spec import TrialSpec


@dataclass(frozen=True)
class DesiredRun:
    """A trial as its folder says now: everything that its run is to show."""

    spec: TrialSpec
    status: TrialStatus
    records: list[Record]
    failure: Failure | None

    @classmethod
    def read(cls, store: Store, spec: TrialSpec) -> Self:
        """Read it from the trial's folder."""
        status = store.state(spec)
        ended_badly = status.state in ("failed", "stopped")
        failure = store.failure(spec.trial_id) if ended_badly else None
        return cls(spec, status, store.journal(spec.trial_id), failure)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to make a run for yet."""
        return not self.records and self.status.state in ("pending", "running", "stopped")

    @property
    def started_ms(self) -> int:
        """When the run began: the first record, or the attempt that failed before one."""
        if self.records:
            return self.records[0].time_ms
        return self.status.started_ms or (self.failure.time_ms if self.failure else 0)

    @property
    def ended_ms(self) -> int | None:
        """When it ended: the last record or the failure; None while it goes on."""
        if self.status.state == "running":
            return None
        last = self.records[-1].time_ms if self.records else 0
        return max(last, self.failure.time_ms if self.failure else 0, self.started_ms)


def trial_fingerprint(store: Store, trial_id: str) -> str:
    """Changes whenever the trial's journal or state does: a stat for a finished trial.

    Empty for a trial that nobody has begun; see also `nothing_to_send`.
    """
    folder = store.trial_folder(trial_id)
    try:
        result = (folder / results.RESULT).stat()
        return f"result {result.st_ino} {result.st_mtime_ns} {result.st_size}"
    except (FileNotFoundError, NotADirectoryError):
        pass
    numbers = store.attempts(trial_id)
    if not numbers:
        return ""
    attempt = store.attempt_folder(trial_id, numbers[-1])
    journal, error = (file_fingerprint(attempt / n) for n in (results.JOURNAL, ERROR))
    end = "" if error else " lost" if store.failure(trial_id) else " alive"
    return f"{numbers[-1]} {journal} {error}{end}"


def nothing_to_send(fingerprint: str) -> bool:
    """Whether the trial with this fingerprint has no record and no failure yet."""
    return fingerprint.split()[1:] in ([], ["alive"])


def file_fingerprint(path: Path) -> str:
    """Changes with the file; empty where there is none."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return f"{status.st_size}.{status.st_mtime_ns}"


def differences(run: Run, sweep: str, store_id: str, desired: DesiredRun) -> list[str]:
    """What a run has that differs from the folder, of that which a listing shows."""
    state = desired.status.state
    tags = tags_of(sweep, store_id, desired.spec, state, desired.failure)
    tags |= {name: "" for name in FAILURE_TAGS if name not in tags}
    different = [f"tag {n}" for n, value in tags.items() if run.tags.get(n, "") != value]
    different += [
        f"param {n}" for n, v in params_of(desired.spec).items() if run.params.get(n) != v
    ]
    if run.status != status_of(state):
        different.append(f"status {run.status}")
    newest = {point.key: point for point in points_of(desired.records)}
    for key, point in newest.items():
        if (
            key not in run.latest
            or point._replace(value=run.latest[key]).identity != point.identity
        ):
            different.append(f"metric {key}")
    return different


def artifacts_of(store: Store, status: TrialStatus) -> Iterator[tuple[Path, str]]:
    """The files of a trial that belong into its run, and the folder for each in the run.

    Of the attempt that finished: all in its `artifacts`. Of each that failed: error and log.
    """
    for number in store.attempts(status.trial_id):
        attempt = store.attempt_folder(status.trial_id, number)
        if status.state == "finished" and number == status.attempt:
            root = attempt / results.ARTIFACTS
            for path in sorted(p for p in root.rglob("*") if p.is_file()):
                folder = path.parent.relative_to(root).as_posix()
                yield path, "" if folder == "." else folder
        elif (attempt / ERROR).exists():
            for name in (ERROR, LOG):
                if (attempt / name).exists():
                    yield attempt / name, f"{ATTEMPTS}/{number}"
