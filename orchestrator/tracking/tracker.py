"""What the forwarder asks of a tracker.

A run belongs to one (sweep, trial) of one store and is found by its tags. No mlflow here: the two
implementations are mlflow_tracker.py and memory_tracker.py, and `tests/contracts` the suite that
both pass.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from orchestrator.errors import BnsweepError
from orchestrator.store.failures import Failure
from orchestrator.store.records import State
from trainer.journal import Record
from trainer.spec import TrialSpec

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
"""MLflow's own words for the state of a run."""

POINTS_A_CALL = 1000
"""MLflow refuses more metrics in one call."""
TAG_CHARACTERS = 5000

TAG_SWEEP = "bnsweep.sweep"
TAG_TRIAL = "bnsweep.trial_id"
TAG_CONFIG = "bnsweep.config_id"
TAG_STATE = "bnsweep.state"
TAG_STORE = "bnsweep.store"
"""Tells the runs of two stores apart that mirror a sweep of one name to one server."""
FAILURE_TAGS = ("bnsweep.failure", "bnsweep.cause", "bnsweep.host", "bnsweep.attempt")


class RunGone(BnsweepError):
    """The run is not there, or was deleted."""


class Refused(BnsweepError):
    """The tracker will not accept this, however often it is sent."""


class Point(NamedTuple):
    """One metric value; the four fields together are what a tracker stores once."""

    key: str
    value: float
    time_ms: int
    step: int

    @property
    def identity(self) -> tuple[str, int, int, float | str]:
        """Comparable even where the value is not a number."""
        value = "nan" if math.isnan(self.value) else self.value
        return (self.key, self.step, self.time_ms, value)


@dataclass(frozen=True)
class Experiment:
    """A sweep's place in the tracker. `key` also changes when it is made anew."""

    id: str
    key: str
    restored: bool = False
    """It had been deleted and was brought back just now."""


@dataclass(frozen=True)
class Run:
    """A run as the tracker has it."""

    run_id: str
    name: str
    status: Status
    started_ms: int
    ended_ms: int | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    latest: Mapping[str, float] = field(default_factory=dict)
    """The newest value of each metric."""

    @property
    def trial_id(self) -> str:
        """The trial it mirrors."""
        return self.tags.get(TAG_TRIAL, "")


class Data(NamedTuple):
    """The data set that a trial was trained and tested on."""

    name: str
    digest: str
    """Beginning of the sha256 of its content, as read."""
    images: Mapping[str, int]
    """In each split, where that is known beforehand."""


class Tracker(Protocol):
    """Calls are bounded in time and not repeated. All raise UnreachableError where the tracker
    cannot be reached or fails, RunGone for a run that is not there, Refused for what it rejects."""

    address: str
    """For a person: no credentials."""

    def check(self, timeout_s: float) -> None:
        """Raise UnreachableError unless the tracker answers within the time."""

    def open(self, sweep: str) -> Experiment:
        """Find or create the sweep's experiment; a deleted one is restored."""

    def describe(self, experiment: Experiment, text: str) -> None:
        """Set the text (Markdown) that a person reads above the experiment's runs."""

    def introduce(
        self, experiment: Experiment, text: str, metrics: Sequence[str], params: Sequence[str]
    ) -> None:
        """Set what a person who opens the experiment sees first: the text, unless it has one, and
        the metrics and params that a list of the runs shows, where there is a list."""

    def runs(self, experiment: Experiment, store_id: str, trial_id: str = "") -> Iterator[Run]:
        """The runs of a store (of one trial), oldest first, without deleted ones."""

    def create(
        self, experiment: Experiment, name: str, tags: Mapping[str, str], started_ms: int
    ) -> str:
        """A new run; returns its id."""

    def send(
        self,
        run_id: str,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Store at most POINTS_A_CALL points, and params and tags. Sent twice, stored once."""

    def add_data(self, run_id: str, data: Data) -> None:
        """Name the data set that the run has used. Sent twice, stored once."""

    def upload(self, run_id: str, path: Path, folder: str = "") -> None:
        """Store a file under its name in `folder`; replaces one of that name."""

    def set_status(self, run_id: str, status: Status, ended_ms: int | None) -> None:
        """Set the run's status, and its end where it has one."""

    def restore(self, run_id: str) -> bool:
        """Bring a deleted run back; False where it is not to be had."""

    def remove(self, run_id: str) -> None:
        """Delete a run; one that is gone already is no error."""

    def points(self, run_id: str) -> list[Point]:
        """All that is stored of the run's metrics."""

    def artifacts(self, run_id: str) -> list[str]:
        """Paths of the run's files."""

    def experiment_url(self, sweep: str, base: str = "") -> str:
        """Where a person sees the sweep's curves; `base` is a UI's address where the tracker has
        none of its own. Empty where there is nothing to see."""


def params_of(spec: TrialSpec) -> dict[str, str]:
    """Every field of the spec, as text."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in spec}


_ENDED: dict[State, Status] = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


def status_of(state: State) -> Status:
    """MLflow's word for a trial's state."""
    return _ENDED.get(state, "RUNNING")


def tags_of(
    sweep: str, store_id: str, spec: TrialSpec, state: State, failure: Failure | None
) -> dict[str, str]:
    """The tags of the run; those of a failure only where the trial failed."""
    tags = {
        TAG_SWEEP: sweep,
        TAG_TRIAL: spec.trial_id,
        TAG_CONFIG: spec.config_id,
        TAG_STORE: store_id,
        TAG_STATE: state,
    }
    if state == "failed" and failure is not None:
        values = (failure.failure, failure.cause, failure.host, str(failure.attempt))
        tags |= dict(zip(FAILURE_TAGS, values, strict=True))
    return {name: value[:TAG_CHARACTERS] for name, value in tags.items()}


def points_of(records: Iterable[Record]) -> list[Point]:
    """The records' metrics by epoch, with the records' own times. No SQL store has infinity:
    MLflow keeps the greatest float instead, so that is what is sent."""
    return [
        Point(key, _storable(value), record.time_ms, record.epoch)
        for record in records
        for key, value in record.metrics.items()
    ]


def _storable(value: float) -> float:
    if math.isinf(value):
        return math.copysign(sys.float_info.max, value)
    return float(value)
