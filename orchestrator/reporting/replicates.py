"""Finished trials gathered into configurations: which replicates may be averaged, and which not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.reporting.statistics import Estimate, estimate
from trainer.results import Result
from trainer.spec import TrialSpec, default_milestones

ACCURACY = "test/accuracy"
VALIDATION_ACCURACY = "validation/accuracy"


@dataclass(frozen=True)
class Replicates:
    """Results of one configuration, computed by the same code from the same data, by seed."""

    spec: TrialSpec
    """The configuration, as the spec of its first seed."""
    results: tuple[Result, ...]
    flag: str
    """Says which code and data, where the configuration has results of several; else empty."""

    def values(self, metric: str = ACCURACY) -> list[float]:
        """The metric of each replicate that has it."""
        return [result.metrics[metric] for result in self.results if metric in result.metrics]

    def estimate(self, metric: str = ACCURACY) -> Estimate | None:
        """Mean over the replicates; None where none has the metric."""
        return estimate(self.values(metric))

    def by_seed(self, metric: str = ACCURACY) -> dict[int, float]:
        """The metric of each seed that has it."""
        return {r.spec.seed: r.metrics[metric] for r in self.results if metric in r.metrics}

    @property
    def config_id(self) -> str:
        """The configuration's id."""
        return self.results[0].config_id


def gather(results: Iterable[Result]) -> list[Replicates]:
    """Group by configuration and by the digests of code and data, which are never averaged over."""
    groups: dict[str, dict[tuple[str, str], list[Result]]] = {}
    for result in results:
        by_origin = groups.setdefault(result.config_id, {})
        by_origin.setdefault(origin(result), []).append(result)
    gathered = []
    for by_origin in groups.values():
        for key, members in by_origin.items():
            members.sort(key=lambda result: result.spec.seed)
            flag = "" if len(by_origin) == 1 else f"code {key[0][:8]} data {key[1][:8]}"
            gathered.append(Replicates(members[0].spec, tuple(members), flag))
    return gathered


def origin(result: Result) -> tuple[str, str]:
    """Digests of the trainer's code and of the data that a result was computed with."""
    return result.digests.get("code", ""), result.digests.get("data", "")


def device(result: Result) -> str:
    """The type of GPU that a result was computed on, as torch names it, or `CPU`."""
    on_cpu = result.numerics.get("device", "cpu") == "cpu"
    return "CPU" if on_cpu else str(result.numerics.get("device_name", "unknown GPU"))


def paired_values(first: Replicates, second: Replicates, metric: str = ACCURACY) -> list[float]:
    """first − second for each seed that both have.

    Replicates of one seed start from the same weights and see the same batches, so pairing takes
    their common luck out of the difference.
    """
    theirs = second.by_seed(metric)
    return [value - theirs[seed] for seed, value in first.by_seed(metric).items() if seed in theirs]


def varied(specs: Sequence[TrialSpec]) -> list[str]:
    """Fields with several values among `specs`, in order of declaration; `trainable` covers k.

    Without the seed, and without milestones that only follow the epochs.
    """
    names = [name for name in TrialSpec.model_fields if name not in ("seed", "trainable", "k")]
    fields = [name for name in names if len({_value(spec, name) for spec in specs}) > 1]
    if len({spec.mode for spec in specs}) > 1:
        fields.append("trainable")
    return fields


def _value(spec: TrialSpec, name: str) -> object:
    if name == "milestones" and spec.milestones == default_milestones(spec.epochs):
        return "default"
    return getattr(spec, name)
