"""The best configuration of a sweep for each value of an axis, by its validation accuracy.

Means over seeds are compared, of configurations whose seeds have all finished: a lucky seed, or
one that diverged, must not decide. The images that chose tell no honest accuracy of what they
chose, and neither do the seeds: the test accuracy stands beside, and the follow-up has new seeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.errors import UserError
from orchestrator.reporting import tables
from orchestrator.reporting.replicates import (
    ACCURACY,
    VALIDATION_ACCURACY,
    Replicates,
    gather,
    varied,
)
from orchestrator.reporting.tables import Table, value_of, with_interval
from orchestrator.store import lookup
from orchestrator.store.records import Launch
from orchestrator.store.store import Store
from orchestrator.sweep import follow_up
from orchestrator.sweep.problems import nearest
from trainer.spec import TrialSpec

FEW = 3
"""Values of an axis from which on it tells something that the best one is at an end."""


@dataclass(frozen=True)
class Best:
    """The best configuration at one point of the axes."""

    point: dict[str, str]
    group: Replicates
    of: int
    """How many were compared."""
    ends: tuple[str, ...]
    """Fields whose best value is the smallest or largest that was tried."""


@dataclass(frozen=True)
class Choice:
    """What a sweep says is best."""

    launch: Launch
    metric: str
    by: tuple[str, ...]
    others: tuple[str, ...]
    """The varied fields that were chosen."""
    best: tuple[Best, ...]
    notes: tuple[str, ...]

    def table(self) -> Table:
        """For people."""
        metrics = list(dict.fromkeys([self.metric, ACCURACY]))
        body = [
            [
                *each.point.values(),
                *(value_of(each.group.spec, name) for name in self.others),
                *(_shown(each.group, metric) for metric in metrics),
                str(each.of),
            ]
            for each in self.best
        ]
        of_each = f" for each {' and '.join(self.by)}" if self.by else ""
        title = (
            f"The best by {_words(self.metric)}{of_each}, in %: mean ± half of the 95 % interval "
            "over seeds (n)"
        )
        columns = [*self.by, *self.others, *map(_words, metrics), "of"]
        return Table(title, columns, body, list(self.notes))

    def to_json(self) -> dict[str, Any]:
        """Plain data: every number, unrounded."""
        return {
            "sweep": self.launch.sweep.name,
            "metric": self.metric,
            "by": list(self.by),
            "best": [
                {
                    "point": each.point,
                    "config_id": each.group.config_id,
                    "fields": {name: getattr(each.group.spec, name) for name in self.others},
                    "estimates": {
                        metric: asdict(value)
                        for metric in (VALIDATION_ACCURACY, ACCURACY)
                        if (value := each.group.estimate(metric))
                    },
                    "of": each.of,
                    "ends": list(each.ends),
                }
                for each in self.best
            ],
            "notes": list(self.notes),
        }

    def follow_up(self, name: str, seeds: int) -> str:
        """A sweep file of the best configurations, with so many seeds that none of them has had."""
        first = max(spec.seed for spec in self.launch.specs) + 1
        description = f"The best of {self.launch.sweep.name} by {_words(self.metric)}, new seeds"
        specs = [each.group.spec for each in self.best]
        numbers = range(first, first + seeds)
        return follow_up.text(name, description, self.launch.sweep, specs, numbers)


def choose(
    store: Store,
    name: str,
    by: Sequence[str] = (),
    *,
    on_test_images: bool = False,
    among: Sequence[TrialSpec] | None = None,
) -> Choice:
    """The best of each value of the axes `by`, the freezing modes where they are left out and vary.

    `among`: trials of the sweep, if not all. Raises UserError for what the store or the sweep has
    not, and where trials keep no images for validation, unless the test images are asked to choose.
    """
    launch = lookup.launch_of(store, name)
    specs = launch.specs if among is None else among
    axes = varied(specs)
    for axis in by:
        if axis not in axes:
            hint = nearest(axis, axes)
            raise UserError(
                f"--by {axis}: {name} does not vary it{hint}; allowed: {', '.join(axes)}"
            )
    if not on_test_images:
        _refuse_without_validation(name, specs)
    by = tuple(dict.fromkeys(by)) or tuple(axis for axis in axes if axis == "trainable")
    metric = ACCURACY if on_test_images else VALIDATION_ACCURACY
    results = [r for spec in specs if (r := store.result(spec.trial_id))]
    seeds = Counter(spec.config_id for spec in specs)
    complete = [g for g in gather(results) if len(g.results) == seeds[g.config_id]]
    if not complete:
        raise UserError(
            f"sweep {name}: no configuration has finished all its seeds; see: bnsweep status {name}"
        )
    points: dict[tuple[str, ...], list[Replicates]] = {}
    for group in complete:
        key = tuple(value_of(group.spec, axis) for axis in by)
        points.setdefault(key, []).append(group)
    others = tuple(axis for axis in axes if axis not in by)
    best = tuple(
        _best(dict(zip(by, key, strict=True)), groups, metric, others)
        for key, groups in points.items()
    )
    notes = [*_notes(best, len(seeds) - len(complete), metric), *tables.notes(results)]
    return Choice(launch, metric, by, others, best, tuple(notes))


def _refuse_without_validation(name: str, specs: Sequence[TrialSpec]) -> None:
    without = sum(not spec.validation for spec in specs)
    if without:
        raise UserError(
            f"sweep {name}: {without} of its {len(specs)} trials keep no "
            "images for validation, and what the test images choose looks better by them than it "
            "is; put validation: 5000, say, under base and launch again, or say --on-test-images"
        )


def _best(
    point: dict[str, str], groups: Sequence[Replicates], metric: str, others: Sequence[str]
) -> Best:
    best = max(groups, key=lambda group: _mean(group, metric))  # the first of equals
    specs = [group.spec for group in groups]
    ends = tuple(name for name in others if _at_an_end(best.spec, specs, name))
    return Best(point, best, len(groups), ends)


def _mean(group: Replicates, metric: str) -> float:
    estimate = group.estimate(metric)
    assert estimate is not None, f"{group.config_id} has no {metric}"
    return estimate.mean


def _at_an_end(best: TrialSpec, specs: Sequence[TrialSpec], name: str) -> bool:
    values = {getattr(spec, name) for spec in specs}
    numbers = all(type(value) in (int, float) for value in values)
    return numbers and len(values) >= FEW and getattr(best, name) in (min(values), max(values))


def _notes(best: Sequence[Best], incomplete: int, metric: str) -> list[str]:
    lines = []
    if metric == ACCURACY:
        lines.append(
            "chosen by the test images: new images would tell a lower accuracy of what is chosen"
        )
    if any(len(each.group.results) == 1 for each in best):
        lines.append("one seed each: the choice rests on its luck")
    for each in best:
        for name in each.ends:
            where = " ".join(each.point.values())
            value = value_of(each.group.spec, name)
            lines.append(
                f"{where + ': ' if where else ''}{name} {value} is at the end of what was tried"
            )
    if incomplete:
        lines.append(f"{incomplete} configurations lack seeds and were not compared")
    return lines


def _words(metric: str) -> str:
    return metric.replace("/", " ")


def _shown(group: Replicates, metric: str) -> str:
    estimate = group.estimate(metric)
    return f"{with_interval(estimate)} ({estimate.n})" if estimate else "–"
