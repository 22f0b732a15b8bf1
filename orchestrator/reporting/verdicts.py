"""Whether the results reproduce the published ones: verdicts by value, and the paper's claims.

A value is *reproduced* where an equivalence test shows the difference to be below the margin
(two one-sided t tests, 5 %), and *deviates* where a one-sided test shows it to be above. What
neither shows needs more seeds. Only training under the paper's protocol can do either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.reporting.published import Published, count_of
from orchestrator.reporting.replicates import Replicates
from orchestrator.reporting.statistics import Estimate, differs, equivalent, estimate
from orchestrator.reporting.tables import show
from orchestrator.sweep.recipes import RECIPES
from trainer.spec import TrialSpec

Outcome = Literal["reproduced", "deviates", "too few seeds", "other protocol", "not run"]

MARGIN = 1.0
"""Percentage points of accuracy that count as the same, beside the published value's precision.

The one known replication with the same recipe lay within 1.6 points everywhere.
"""

_NOT_PROTOCOL = {
    *("model", "depth", "width", "dataset", "trainable", "k", "seed", "deterministic"),
    *("init", "bn_init", "weights", "weights_sha256"),
}
"""What names a configuration; every other field, one added later too, is the protocol."""


@dataclass(frozen=True)
class Verdict:
    """A published value beside ours."""

    published: Published
    outcome: Outcome
    ours: Estimate | None = None
    difference: float | None = None
    """Ours minus theirs, in the value's unit."""
    margin: float = 0.0
    protocol: tuple[str, ...] = ()
    """How the training deviates from the paper's: `epochs 2 (paper: 160)`."""
    config_id: str = ""
    flag: str = ""


def judge(rows: Sequence[Published], groups: Sequence[Replicates]) -> list[Verdict]:
    """A verdict for each value (count or accuracy) and each configuration that it is for."""
    verdicts = []
    for row in rows:
        if row.kind not in ("accuracy", "count"):
            continue
        matching = [group for group in groups if row.matches(group.spec)]
        if row.kind == "count":
            verdicts.append(_count_verdict(row, matching))
        else:
            verdicts += [_accuracy_verdict(row, group) for group in matching] or [
                Verdict(row, "not run")
            ]
    return verdicts


def _count_verdict(row: Published, groups: Sequence[Replicates]) -> Verdict:
    counts = {count_of(r.counts, row.target) for group in groups for r in group.results}
    if not counts:
        return Verdict(row, "not run")
    ours = estimate([float(count) for count in sorted(counts)])
    assert ours is not None
    outcome: Outcome = "reproduced" if counts == {int(row.value)} else "deviates"
    return Verdict(row, outcome, ours, ours.mean - row.value)


def _accuracy_verdict(row: Published, group: Replicates) -> Verdict:
    ours = group.estimate(row.target)
    if ours is None:
        return Verdict(row, "not run", config_id=group.config_id, flag=group.flag)
    protocol, margin = deviations(group), MARGIN + row.precision
    away = Estimate(ours.mean - row.value, ours.spread, ours.half_width, ours.n)
    outcome: Outcome = "too few seeds"
    if protocol:
        outcome = "other protocol"
    elif equivalent(away, margin):
        outcome = "reproduced"
    elif differs(away, margin):
        outcome = "deviates"
    return Verdict(row, outcome, ours, away.mean, margin, protocol, group.config_id, group.flag)


PAPER_DATA = ("cifar10", "imagenet")


def deviations(group: Replicates) -> tuple[str, ...]:
    """In what the training of `group` is not the paper's."""
    spec = group.spec
    paper = paper_protocol(spec)
    found = [
        f"{name} {show(getattr(spec, name))} (paper: {show(getattr(paper, name))})"
        for name in TrialSpec.model_fields
        if name not in _NOT_PROTOCOL and getattr(spec, name) != getattr(paper, name)
    ]
    if spec.dataset not in PAPER_DATA:
        found.insert(0, f"dataset {spec.dataset} (paper: {' or '.join(PAPER_DATA)})")
    if any(not result.exact for result in group.results):
        found.append("resumed under other numerics")
    if len(group.results) > len(set(group.seeds)):
        found.append("a seed counted twice")
    return tuple(found)


def paper_protocol(spec: TrialSpec) -> TrialSpec:
    """The paper's training of `spec`'s network on `spec`'s data (CIFAR-10's where it has none)."""
    recipe = RECIPES.get(spec.dataset) if spec.dataset in PAPER_DATA else None
    network = {name: getattr(spec, name) for name in ("model", "depth", "width", "dataset")}
    return TrialSpec.model_validate({**(recipe or RECIPES["cifar10"]), **network})
