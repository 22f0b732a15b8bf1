"""What a launch would do, exactly: each trial, its state, what it trains and what it costs.

From the same objects as the launch, without torch, Ray or MLflow.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from orchestrator import costs
from orchestrator.errors import UserError
from orchestrator.history import Estimate, History
from orchestrator.records import TrialStatus
from orchestrator.store import Store
from orchestrator.sweep import Resources, SweepSpec
from trainer.results import Counts
from trainer.spec import TrialSpec

NOT_AGAIN = ("diverged", "user")
"""Failures that a launch does not repeat by itself: the same would happen."""


@dataclass(frozen=True)
class Costs:
    """What all replicates of a configuration cost."""

    counts: Counts
    flops_per_image: int
    checkpoint_bytes: int
    kept_bytes: int
    memory_bytes: int
    steps_per_epoch: int | None
    """None where the size of the data set is not known (a folder of images)."""


@dataclass(frozen=True)
class Row:
    """One trial of the plan."""

    spec: TrialSpec
    trial_id: str
    config_id: str
    status: TrialStatus
    costs: Costs
    estimate: Estimate | None
    """Training time of the whole trial; None: unknown."""
    runs: bool
    """Whether a launch would run it."""
    why: str
    """Why it runs, or does not."""

    @property
    def seconds_left(self) -> float | None:
        """Estimated training time that a launch would still spend; None: unknown."""
        if not self.runs:
            return 0.0
        if self.estimate is None:
            return None
        done = (self.status.epoch or 0) / max(self.spec.epochs, 1)
        return self.estimate.seconds * (1 - min(done, 1.0))

    def to_json(self) -> dict[str, Any]:
        """The keys of DESIGN §6, and more."""
        estimate = self.estimate
        return {
            "trial_id": self.trial_id,
            "config_id": self.config_id,
            "state": self.status.state,
            **{k: list(v) if isinstance(v, tuple) else v for k, v in self.spec},
            **{f"params_{name}": value for name, value in self.costs.counts},
            "flops_per_image": self.costs.flops_per_image,
            "checkpoint_bytes": self.costs.checkpoint_bytes,
            "kept_bytes": self.costs.kept_bytes,
            "memory_bytes": self.costs.memory_bytes,
            "steps_per_epoch": self.costs.steps_per_epoch,
            "seconds": estimate.seconds if estimate else None,
            "seconds_low": estimate.low if estimate else None,
            "seconds_high": estimate.high if estimate else None,
            "seconds_from": estimate.source if estimate else None,
            "owner": self.status.owner,
            "runs": self.runs,
            "why": self.why,
        }


@dataclass(frozen=True)
class Group:
    """The replicates of one configuration: a row of the table on a terminal."""

    spec: TrialSpec
    """Of the first replicate."""
    trials: int
    states: dict[str, int]
    costs: Costs
    estimate: Estimate | None
    """For one trial."""


@dataclass(frozen=True)
class Totals:
    """Sums over the trials that a launch would run; hours are None where a trial's are unknown."""

    trials: int
    to_run: int
    states: dict[str, int]
    hours: float | None
    """Training hours, one trial after another."""
    gpu_hours: float | None
    """With `gpus: auto` an upper bound: a whole GPU for each trial."""
    cpu_hours: float | None
    trials_of_unknown_length: int
    disk_bytes: int
    """About what the trials to run add to the store, once they are finished."""
    memory_bytes: int
    """The largest trial's."""


@dataclass(frozen=True)
class Plan:
    """The whole plan of a sweep."""

    sweep: str
    axes: tuple[str, ...]
    resources: Resources
    rows: tuple[Row, ...]
    removed: tuple[str, ...]
    """Trials of the sweep's newest launch that are no longer part of it; they are left alone."""

    @property
    def to_run(self) -> tuple[TrialSpec, ...]:
        """The trials that a launch would run, in order."""
        return tuple(row.spec for row in self.rows if row.runs)

    @property
    def totals(self) -> Totals:
        """Sums over the plan."""
        running = [row for row in self.rows if row.runs]
        left = [row.seconds_left for row in running]
        unknown = sum(seconds is None for seconds in left)
        hours = None if unknown else sum(seconds or 0.0 for seconds in left) / 3600
        gpus = 1.0 if self.resources.gpus == "auto" else self.resources.gpus
        return Totals(
            trials=len(self.rows),
            to_run=len(running),
            states=dict(Counter(row.status.state for row in self.rows)),
            hours=hours,
            gpu_hours=0.0 if not gpus else None if hours is None else hours * gpus,
            cpu_hours=None if hours is None else hours * self.resources.cpus,
            trials_of_unknown_length=unknown,
            disk_bytes=sum(row.costs.kept_bytes for row in running),
            memory_bytes=max((row.costs.memory_bytes for row in running), default=0),
        )

    def groups(self) -> list[Group]:
        """The rows by configuration, in order: replicates follow each other in a plan."""
        return [_group(list(rows)) for _, rows in groupby(self.rows, key=lambda r: r.config_id)]

    def to_json(self) -> dict[str, Any]:
        """As DESIGN §6 says; more keys may come."""
        return {
            "sweep": self.sweep,
            "trials": [row.to_json() for row in self.rows],
            "removed": list(self.removed),
            "totals": asdict(self.totals),
        }

    def to_csv(self) -> str:
        """A line for each trial, the columns as in the JSON."""
        if not self.rows:
            return ""
        rows = [row.to_json() for row in self.rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def make(sweep: SweepSpec, store: Store) -> Plan:
    """The plan of a sweep over what the store has. Reads only."""
    statuses = [store.state(spec) for spec in sweep.trials]
    history = History(store, zip(sweep.trials, statuses, strict=True))
    known: dict[str, tuple[Costs, Estimate | None]] = {}
    rows = []
    for spec, status in zip(sweep.trials, statuses, strict=True):
        config_id = spec.config_id
        if config_id not in known:
            known[config_id] = (_costs(spec), history.estimate(spec))
        runs, why = decision(status, store)
        rows.append(Row(spec, status.trial_id, config_id, status, *known[config_id], runs, why))
    return Plan(sweep.name, sweep.axes, sweep.resources, tuple(rows), _removed(sweep, store, rows))


def check_limits(
    plan: Plan, max_gpu_hours: float | None = None, max_memory: int | None = None
) -> None:
    """Refuse a plan beyond the limits (UserError), and say what to drop.

    `max_memory`: bytes for one trial.
    """
    lines = []
    if max_memory is not None:
        lines += list(_too_large(plan, max_memory))
    if max_gpu_hours is not None:
        lines += list(_too_long(plan, max_gpu_hours))
    if lines:
        raise UserError(*lines)


def explain(spec: TrialSpec) -> dict[str, tuple[Any, Any]]:
    """Fields in which a trial differs from the default trial: name → (value, default)."""
    default = TrialSpec()
    return {name: (value, getattr(default, name)) for name, value in spec.identity_fields().items()}


def _costs(spec: TrialSpec) -> Costs:
    images = costs.training_images(spec)
    return Costs(
        costs.counts(spec),
        costs.flops_per_image(spec),
        costs.checkpoint_bytes(spec),
        costs.kept_bytes(spec),
        costs.memory_bytes(spec),
        costs.steps_per_epoch(images, spec.batch_size) if images else None,
    )


def decision(status: TrialStatus, store: Store) -> tuple[bool, str]:
    """Whether a launch would run the trial, and why."""
    match status.state:
        case "finished":
            return False, "finished: not trained again"
        case "running":
            return False, f"running on {status.owner}: a launch waits for it"
        case "pending":
            return True, "not trained yet"
        case "stopped":
            return True, f"stopped ({status.cause}): goes on after epoch {status.epoch or 0}"
    failure = store.failure(status.trial_id)
    if failure is not None and failure.failure in NOT_AGAIN:
        return False, f"failed ({status.cause}): not retried unless it is named"
    return True, f"failed ({status.cause}): tried again"


def _removed(sweep: SweepSpec, store: Store, rows: Iterable[Row]) -> tuple[str, ...]:
    launch = store.newest_launch(sweep.name)
    if launch is None:
        return ()
    planned = {row.trial_id for row in rows}
    return tuple(spec.trial_id for spec in launch.specs if spec.trial_id not in planned)


def _group(rows: list[Row]) -> Group:
    first = rows[0]
    states: dict[str, int] = dict(Counter(str(row.status.state) for row in rows))
    return Group(first.spec, len(rows), states, first.costs, first.estimate)


def _too_large(plan: Plan, max_memory: int) -> Iterator[str]:
    for group in plan.groups():
        if group.costs.memory_bytes > max_memory:
            need = group.costs.memory_bytes / 1e9
            yield (
                f"{group.spec.config_id}: needs {need:.2f} GB, --max-memory allows "
                f"{max_memory / 1e9:.2f}; drop it ({_exclusion(plan, group)}) or lower batch_size"
            )


def _too_long(plan: Plan, max_gpu_hours: float) -> Iterator[str]:
    totals = plan.totals
    if totals.gpu_hours is None:
        yield (
            f"{plan.sweep}: --max-gpu-hours cannot be kept: {totals.trials_of_unknown_length} "
            "trials are of unknown length; run one of each configuration for an epoch first "
            "(--set seeds=1 --set epochs=1)"
        )
        return
    excess = totals.gpu_hours - max_gpu_hours
    if excess <= 0:
        return
    yield (
        f"{plan.sweep}: needs {totals.gpu_hours:.1f} GPU-hours, --max-gpu-hours allows "
        f"{max_gpu_hours:g}; dropping these is enough:"
    )
    share = totals.gpu_hours / totals.hours if totals.hours else 0.0
    for group, hours in _longest_first(plan):
        if excess <= 0:
            return
        excess -= hours * share
        yield f"  {group.spec.config_id}: {hours * share:.1f} GPU-hours ({_exclusion(plan, group)})"


def _longest_first(plan: Plan) -> list[tuple[Group, float]]:
    hours: Counter[str] = Counter()
    for row in plan.rows:
        hours[row.config_id] += (row.seconds_left or 0.0) / 3600  # type: ignore[assignment]
    groups = [(group, float(hours[group.spec.config_id])) for group in plan.groups()]
    return sorted(groups, key=lambda pair: -pair[1])


def _exclusion(plan: Plan, group: Group) -> str:
    fields = ", ".join(f"{axis}: {getattr(group.spec, axis)}" for axis in plan.axes)
    return f"exclude: [{{{fields}}}]" if fields else "there is nothing else in the sweep"
