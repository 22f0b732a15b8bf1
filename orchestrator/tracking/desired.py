"""What a trial's folder says, and so what its run in the tracker is to be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
from trainer.results import Failure
from trainer.spec import TrialSpec


@dataclass(frozen=True)
class Wanted:
    """What the trial's folder says, and so what its run is to be."""

    spec: TrialSpec
    status: TrialStatus
    records: list[Record]
    failure: Failure | None

    @property
    def nothing(self) -> bool:
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


def wanted(store: Store, spec: TrialSpec) -> Wanted:
    """Read what the run is to be."""
    trial_id = spec.trial_id
    status = store.state(spec)
    failure = store.failure(trial_id) if status.state in ("failed", "stopped") else None
    return Wanted(spec, status, store.journal(trial_id), failure)


def mark_of(store: Store, trial_id: str) -> str:
    """Changes whenever the trial's journal or state does: a stat for a finished trial.

    Empty for a trial that nobody has begun; see also `nothing_yet`.
    """
    folder = store.trial_folder(trial_id)
    try:
        found = (folder / results.RESULT).stat()
        return f"result {found.st_ino} {found.st_mtime_ns} {found.st_size}"
    except (FileNotFoundError, NotADirectoryError):
        pass
    numbers = store.attempts(trial_id)
    if not numbers:
        return ""
    attempt = store.attempt_folder(trial_id, numbers[-1])
    seen = [str(numbers[-1])]
    for name in (results.JOURNAL, ERROR):
        seen.append(stamp(attempt / name))
    if not seen[-1]:
        seen.append("lost" if store.failure(trial_id) else "alive")
    return " ".join(seen)


def nothing_yet(mark: str) -> bool:
    """Whether the trial with this mark has left nothing to send: no record and no failure."""
    return mark.split()[1:] in ([], ["alive"])


def stamp(path: Path) -> str:
    """Changes with the file; empty where there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return f"{found.st_size}.{found.st_mtime_ns}"


def differences(run: Run, sweep: str, store_id: str, trial: Wanted) -> list[str]:
    """What a run has that differs from the folder, of that which a listing shows."""
    state = trial.status.state
    tags = tags_of(sweep, store_id, trial.spec, state, trial.failure)
    tags |= {name: "" for name in FAILURE_TAGS if name not in tags}
    found = [f"tag {n}" for n, value in tags.items() if run.tags.get(n, "") != value]
    found += [f"param {n}" for n, v in params_of(trial.spec).items() if run.params.get(n) != v]
    if run.status != status_of(state):
        found.append(f"status {run.status}")
    newest = {point.key: point for point in points_of(trial.records)}
    for key, point in newest.items():
        if (
            key not in run.latest
            or point._replace(value=run.latest[key]).identity != point.identity
        ):
            found.append(f"metric {key}")
    return found


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
