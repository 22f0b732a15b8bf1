"""Whether the results reproduce the published ones: a verdict for each published cell.

A cell is a network, mode and metric. It is judged by its most precise source alone, under the
paper's protocol alone, by the 90 % interval of ours − theirs. That interval holds the errors of
both: the spread of our seeds (at least the binomial error of the test images), the spread of the
paper's seeds (taken to be ours), and the precision of the printed value.

================== ========================================================== ===============
verdict            rule                                                       error rate
================== ========================================================== ===============
reproduced         the interval lies within ± margin (two one-sided t tests)  5 %, each cell
deviates           the interval lies beyond the margin (one-sided t test)     5 %, each cell
not decided        the interval reaches across the margin; the number of      –
                   seeds that would decide is for the same mean and spread
too few seeds      one seed: no spread, no test                               –
other protocol     trained otherwise than in the paper: no test               –
a count            reproduced where it is equal, deviates where not           none
statement holds    each step's 95 % interval lies within what the paper says  2.5 % in all
statement does     a step's interval lies wholly outside, at 95 % for all     2.5 % in all
not hold           steps together (Bonferroni)
================== ========================================================== ===============

The margin is MARGIN plus the precision of the printed value. An error rate is that of the wrong
verdict where the true difference is the margin itself; elsewhere it is smaller. Statements are in
`statements.py`. A simulation in the tests measures all rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.reporting.published import PAPER_SEEDS, Published, by_precision
from orchestrator.reporting.replicates import Replicates
from orchestrator.reporting.statistics import (
    Estimate,
    binomial_spread,
    differs,
    equivalent,
    estimate,
    to_published,
)
from orchestrator.reporting.tables import show
from orchestrator.sweep.recipes import RECIPES
from trainer.spec import TrialSpec

VerdictOutcome = Literal[
    "reproduced", "deviates", "not decided", "too few seeds", "other protocol", "not run"
]

MARGIN = 1.0
"""Percentage points of accuracy that count as the same, beside the published value's precision.

The one known replication with the same recipe lay within 1.6 points everywhere.
"""

TEST_IMAGES = {"cifar10": 10_000, "cifar100": 10_000, "imagenet": 50_000, "digits": 360}

MOST_SEEDS = 100
"""Where so many would not decide either, the published value's own error is what is in the way."""

_NOT_PROTOCOL = {
    *("model", "depth", "width", "dataset", "trainable", "k", "seed", "deterministic"),
    *("init", "bn_init", "weights", "weights_sha256"),
}
"""What names a configuration; every other field, one added later too, is the protocol."""


@dataclass(frozen=True)
class Verdict:
    """A published cell beside ours."""

    published: Published
    """The row that is judged: the cell's most precise source."""
    outcome: VerdictOutcome
    ours: Estimate | None = None
    difference: float | None = None
    """Ours minus theirs, in the value's unit."""
    margin: float = 0.0
    protocol: tuple[str, ...] = ()
    """How the training deviates from the paper's: `epochs 2 (paper: 160)`."""
    config_id: str = ""
    flag: str = ""
    others: tuple[Published, ...] = ()
    """The cell's other published rows."""
    half_width: float | None = None
    """Half of the difference's 90 % interval, with the errors of both; None where not tested."""
    seeds_to_decide: int | None = None
    """Of ours, in all, for an outcome `not decided`; None where MOST_SEEDS would not decide."""


def judge(rows: Sequence[Published], groups: Sequence[Replicates]) -> list[Verdict]:
    """A verdict for each cell (count or accuracy) and each configuration that it is for."""
    cells: dict[tuple[object, ...], list[Published]] = {}
    for row in rows:
        if row.kind in ("accuracy", "count"):
            cells.setdefault(row.cell, []).append(row)
    verdicts = []
    for sources in cells.values():
        row, *others = by_precision(sources)
        matching = [group for group in groups if row.matches(group.spec)]
        if row.kind == "count":
            judged = [_count_verdict(row, matching)]
        else:
            judged = [_accuracy_verdict(row, group) for group in matching]
        judged = judged or [Verdict(row, "not run")]
        verdicts += [replace(verdict, others=tuple(others)) for verdict in judged]
    return verdicts


def _count_verdict(row: Published, groups: Sequence[Replicates]) -> Verdict:
    counts = {getattr(r.counts, row.target) for group in groups for r in group.results}
    if not counts:
        return Verdict(row, "not run")
    ours = estimate([float(count) for count in sorted(counts)])
    assert ours is not None
    outcome: VerdictOutcome = "reproduced" if counts == {int(row.value)} else "deviates"
    return Verdict(row, outcome, ours, ours.mean - row.value)


def _accuracy_verdict(row: Published, group: Replicates) -> Verdict:
    ours = group.estimate(row.target)
    if ours is None:
        return Verdict(row, "not run", config_id=group.config_id, flag=group.flag)
    protocol, margin = deviations(group), MARGIN + row.precision
    difference = _difference(row, ours)
    outcome: VerdictOutcome = "other protocol" if protocol else _outcome(difference, margin)
    return Verdict(
        published=row,
        outcome=outcome,
        ours=ours,
        difference=difference.mean,
        margin=margin,
        protocol=protocol,
        config_id=group.config_id,
        flag=group.flag,
        half_width=None if protocol else difference.half_width,
        seeds_to_decide=_seeds_to_decide(row, ours, margin) if outcome == "not decided" else None,
    )


def _difference(row: Published, ours: Estimate) -> Estimate:
    least_spread = binomial_spread(ours.mean, TEST_IMAGES[row.dataset])
    return to_published(
        ours,
        row.value,
        seeds=PAPER_SEEDS[row.dataset],
        precision=row.precision,
        least_spread=least_spread,
    )


def _outcome(difference: Estimate, margin: float) -> VerdictOutcome:
    if difference.half_width is None:
        return "too few seeds"
    if equivalent(difference, margin):
        return "reproduced"
    return "deviates" if differs(difference, margin) else "not decided"


def _seeds_to_decide(row: Published, ours: Estimate, margin: float) -> int | None:
    """The fewest seeds that decide where mean and spread stay as they are."""
    for n in range(ours.n + 1, MOST_SEEDS + 1):
        if _outcome(_difference(row, replace(ours, n=n)), margin) != "not decided":
            return n
    return None


PAPER_DATA = ("cifar10", "imagenet")
ASSUMED = ("bn_batch",)
"""Fields of the paper's training that it does not publish; the recipe has a likely value."""


def deviations(group: Replicates) -> tuple[str, ...]:
    """In what the training of `group` is not the paper's."""
    spec = group.spec
    paper = paper_protocol(spec)
    lines = [
        f"{name} {show(getattr(spec, name))} ({_source(name)}: {show(getattr(paper, name))})"
        for name in TrialSpec.model_fields
        if name not in _NOT_PROTOCOL and getattr(spec, name) != getattr(paper, name)
    ]
    if spec.dataset not in PAPER_DATA:
        lines.insert(0, f"dataset {spec.dataset} (paper: {' or '.join(PAPER_DATA)})")
    if any(not result.exact for result in group.results):
        lines.append("resumed under other numerics")
    if len(group.results) > len({result.spec.seed for result in group.results}):
        lines.append("a seed counted twice")
    return tuple(lines)


def _source(name: str) -> str:
    return "assumed" if name in ASSUMED else "paper"


def paper_protocol(spec: TrialSpec) -> TrialSpec:
    """The paper's training of `spec`'s network on `spec`'s data (CIFAR-10's where it has none)."""
    recipe = RECIPES.get(spec.dataset) if spec.dataset in PAPER_DATA else None
    network = {name: getattr(spec, name) for name in ("model", "depth", "width", "dataset")}
    return TrialSpec.model_validate({**(recipe or RECIPES["cifar10"]), **network})
