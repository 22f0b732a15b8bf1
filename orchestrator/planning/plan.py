"""What a launch would do, exactly: each trial, its state, what it trains and what it costs.

From the same objects as the launch, without torch, Ray or MLflow.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from orchestrator.planning import costs, described, weights_check
from orchestrator.planning.history import History, TimeEstimate
from orchestrator.store.failures import NOT_AGAIN
from orchestrator.store.records import TrialStatus
from orchestrator.store.store import Store
from orchestrator.sweep.sweep_spec import Resources, SweepSpec
from trainer.modes import Counts
from trainer.spec import TrialSpec

_COST_NOTHING = frozenset(
    {"seed", "lr", "weight_decay", "nesterov", "schedule", "milestones", "lr_decay"}
    | {"restart_epochs", "warmup_epochs", "init", "bn_init", "bn_momentum", "bn_eps", "brightness"}
)
"""Fields that no cost depends on."""


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
    estimate: TimeEstimate | None
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
        """The keys that docs/contracts.md promises, and more."""
        estimate = self.estimate
        return {
            "trial_id": self.trial_id,
            "config_id": self.config_id,
            "state": self.status.state,
            **_plain(self.spec),
            **{f"params_{name}": value for name, value in self.costs.counts},
            **{name: value for name, value in vars(self.costs).items() if name != "counts"},
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
    estimate: TimeEstimate | None
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
    under_other_code: Mapping[str, int] = field(default_factory=dict)
    """Finished trials that differ from some here in their code alone: its sha256 and how many."""
    private_files: tuple[Path, ...] = ()
    """Files of weights that their owner alone may read; a launch copies them into the store."""

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
        return Totals(
            trials=len(self.rows),
            to_run=len(running),
            states=dict(Counter(row.status.state for row in self.rows)),
            hours=hours,
            gpu_hours=0.0 if not self.gpus else None if hours is None else hours * self.gpus,
            cpu_hours=None if hours is None else hours * self.resources.training_cpus,
            trials_of_unknown_length=unknown,
            disk_bytes=sum(row.costs.kept_bytes for row in running)
            + costs.initial_weights_bytes(row.spec for row in running),
            memory_bytes=max((row.costs.memory_bytes for row in running), default=0),
        )

    @property
    def gpus(self) -> float:
        """Of each trial; with `gpus: auto` as if there were enough."""
        return self.resources.planned_gpus

    def groups(self) -> list[Group]:
        """The rows by configuration, in order: replicates follow each other in a plan."""
        return [_group(list(rows)) for _, rows in groupby(self.rows, key=lambda r: r.config_id)]

    def to_json(self) -> dict[str, Any]:
        """What docs/contracts.md promises; more keys may come."""
        return {
            "sweep": self.sweep,
            "trials": [row.to_json() for row in self.rows],
            "removed": list(self.removed),
            "under_other_code": dict(self.under_other_code),
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
    """The plan of a sweep over what the store has. Reads only, but for a cache of what is not built
    in: that is asked for and checked here. Raises UserError for problems of the user's code and of
    files of weights."""
    described.learn(sweep, store)
    weights_check.check(sweep, store)
    statuses = _statuses(sweep, store)
    planned = zip(sweep.trials, statuses, strict=True)
    history = History(store, planned, sweep.resources.ranks)
    known: dict[tuple[Any, ...], tuple[str, Costs, TimeEstimate | None]] = {}
    cost_of: dict[tuple[Any, ...], Costs] = {}
    rows = []
    for spec, status in zip(sweep.trials, statuses, strict=True):
        configuration = tuple(value for name, value in spec if name != "seed")
        if configuration not in known:
            costly = tuple(value for name, value in spec if name not in _COST_NOTHING)
            cost_of[costly] = cost_of.get(costly) or _costs(spec)
            known[configuration] = (spec.config_id, cost_of[costly], history.estimate(spec))
        config_id, cost, estimate = known[configuration]
        runs, why = decision(status, store)
        rows.append(Row(spec, status.trial_id, config_id, status, cost, estimate, runs, why))
    removed = _removed(sweep, store, rows)
    others = _under_other_code(sweep, store) if sweep.code else {}
    private = weights_check.private_files(sweep, store)
    return Plan(sweep.name, sweep.axes, sweep.resources, tuple(rows), removed, others, private)


def _statuses(sweep: SweepSpec, store: Store) -> list[TrialStatus]:
    """Each trial's state; one look at the store's folder spares a look for each new trial."""
    begun = set(store.trial_ids())
    statuses = []
    for spec in sweep.trials:
        trial_id = spec.trial_id
        new = TrialStatus(trial_id, "pending", epochs=spec.epochs)
        statuses.append(store.state(spec) if trial_id in begun else new)
    return statuses


def _plain(spec: TrialSpec) -> dict[str, Any]:
    """The fields as JSON has them."""
    fields = {name: list(v) if isinstance(v, tuple) else v for name, v in spec}
    return {**fields, "options": dict(spec.options)}


def explain(spec: TrialSpec) -> dict[str, tuple[Any, Any]]:
    """Fields in which a trial differs from the default trial: name → (value, default)."""
    default = TrialSpec()
    fields = {**spec.identity_fields(), **({"options": dict(spec.options)} if spec.options else {})}
    return {name: (value, getattr(default, name)) for name, value in fields.items()}


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
        case _ if why := store.not_ours(status.trial_id):
            return False, f"{status.state}: {why}"
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


def _under_other_code(sweep: SweepSpec, store: Store) -> dict[str, int]:
    planned = {spec.trial_id for spec in sweep.trials}
    slugs = {trial_id.rpartition("-")[0] for trial_id in planned}
    alike = {_without_code(spec) for spec in sweep.trials}
    others: Counter[str] = Counter()
    for trial_id in store.trial_ids():
        if trial_id in planned or trial_id.rpartition("-")[0] not in slugs:
            continue
        spec = store.spec(trial_id)
        if spec and _without_code(spec) in alike and store.state(spec).state == "finished":
            others[spec.code_sha256] += 1
    return dict(others)


def _without_code(spec: TrialSpec) -> str:
    return spec.model_dump_json(exclude={"code_sha256"})


def _group(rows: list[Row]) -> Group:
    first = rows[0]
    states: dict[str, int] = dict(Counter(str(row.status.state) for row in rows))
    return Group(first.spec, len(rows), states, first.costs, first.estimate)
