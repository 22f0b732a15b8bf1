"""The paper's statements about shapes and sizes, checked on our results.

A statement is a set of steps: differences paired by seed between two networks or modes (or a
trend, or a share), each with the range in which the paper says that it lies. Every step must lie
there; the rule and its error rates are in the table of `verdicts.py`. A shape is tested whatever
the training; a size is one of the paper's numbers, tested under the paper's protocol only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from orchestrator.reporting.published import published
from orchestrator.reporting.replicates import ACCURACY, Replicates, origin, paired_values
from orchestrator.reporting.statistics import CONFIDENCE, Estimate, estimate, estimate_of
from orchestrator.reporting.tables import with_interval
from orchestrator.reporting.verdicts import MARGIN, TEST_IMAGES, deviations

StatementOutcome = Literal["holds", "does not hold", "undecided", "other protocol", "not run"]
BELOW = "trained/gamma_below_0.01"
SHARE_MARGIN = 5.0
"""Percentage points of a published share of |γ| < 0.01 that count as the same. It is wide because
the paper does not say of which network the share is."""


@dataclass(frozen=True)
class Range:
    """Where the paper says that a difference or share lies, in percentage points."""

    low: float = 0.0
    high: float = math.inf

    @property
    def is_size(self) -> bool:
        """Whether it is a published number, not a direction alone."""
        return math.isfinite(self.high)


RISES = Range()


@dataclass(frozen=True)
class Step:
    """A quantity, and the range in which the paper says that it lies."""

    name: str
    value: Estimate
    """In percentage points."""
    protocol: tuple[str, ...]
    expected: Range = RISES
    is_difference: bool = True
    """Else a share, shown without a sign."""


@dataclass(frozen=True)
class CheckedStatement:
    """A statement of the paper and what our results say to it."""

    name: str
    text: str
    outcome: StatementOutcome
    evidence: tuple[str, ...] = ()
    """A line for each step: `depth 14 → 32: +9.6 ± 0.7 (n 5)`."""
    protocol: tuple[str, ...] = ()
    """How the trainings deviate from the paper's."""


Steps = Callable[[Sequence[Replicates]], Iterable[Step]]


def check(groups: Sequence[Replicates]) -> list[CheckedStatement]:
    """Every statement, in the order of the paper's experiments."""
    return [_checked(name, text, list(steps(groups))) for name, text, steps in STATEMENTS]


def _checked(name: str, text: str, steps: list[Step]) -> CheckedStatement:
    tested = [step for step in steps if not (step.expected.is_size and step.protocol)]
    outcome: StatementOutcome = (
        _outcome(tested) if tested else "other protocol" if steps else "not run"
    )
    relevant = tested or steps
    protocol = tuple(dict.fromkeys(line for step in relevant for line in step.protocol))
    return CheckedStatement(name, text, outcome, tuple(map(_evidence, relevant)), protocol)


def _evidence(step: Step) -> str:
    sign = "+" if step.is_difference and step.value.mean >= 0 else ""
    return f"{step.name}: {sign}{with_interval(step.value)} (n {step.value.n})"


def _outcome(steps: list[Step]) -> StatementOutcome:
    # Steps share the chance of refuting the statement by luck; all must succeed for it to hold.
    together = 1 - (1 - CONFIDENCE) / len(steps)
    if any(_lies_outside(step, together) for step in steps):
        return "does not hold"
    return "holds" if all(map(_lies_within, steps)) else "undecided"


def _lies_within(step: Step) -> bool:
    if step.value.spread is None:
        return False
    return step.expected.low < step.value.low and step.value.high < step.expected.high


def _lies_outside(step: Step, confidence: float) -> bool:
    value = step.value
    if value.spread is None:
        return False
    wider = estimate_of(value.mean, value.spread, value.n, confidence)
    return wider.high < step.expected.low or step.expected.high < wider.low


def _along(axis: str, which: str) -> Steps:
    """Rises between neighbouring values of `axis` in mode `which`, all else equal."""

    def steps(groups: Sequence[Replicates]) -> Iterable[Step]:
        for line in _lines(groups, axis, which):
            for low, high in pairwise(line):
                ends = f"{axis} {getattr(low.spec, axis)} → {getattr(high.spec, axis)}"
                yield from _step(ends, high, low)

    return steps


def _falls(axis: str, which: str) -> Steps:
    """The fall over all values of `axis` in mode `which`, as one trend.

    Neighbours are not compared: near chance level the paper's own curve goes up again.
    """

    def steps(groups: Sequence[Replicates]) -> Iterable[Step]:
        for line in _lines(groups, axis, which):
            positions = [math.log2(getattr(group.spec, axis)) for group in line]
            by_seed = [group.by_seed() for group in line]
            seeds = sorted(set.intersection(*map(set, by_seed)))
            falls = [-_slope(positions, [values[seed] for values in by_seed]) for seed in seeds]
            trend = estimate(falls, least_spread=_one_image(line[0]))
            if trend is not None:
                ends = f"{getattr(line[0].spec, axis)} to {getattr(line[-1].spec, axis)}"
                name = f"fall with each doubling of the {axis}, {ends}"
                yield Step(name, trend, _protocol(*line))

    return steps


def _lines(groups: Sequence[Replicates], axis: str, which: str) -> Iterator[list[Replicates]]:
    """Configurations in mode `which` that differ in `axis` alone, two or more, in its order."""
    lines: dict[object, list[Replicates]] = {}
    for group in groups:
        if group.spec.mode == which:
            lines.setdefault(_all_but(group, axis), []).append(group)
    for line in lines.values():
        if len(line) > 1:
            yield sorted(line, key=lambda group: int(getattr(group.spec, axis)))


def _slope(positions: Sequence[float], values: Sequence[float]) -> float:
    """Of the least-squares line, in the values' unit for each 1 of position."""
    middle = math.fsum(positions) / len(positions)
    offsets = [position - middle for position in positions]
    products = (offset * value for offset, value in zip(offsets, values, strict=True))
    return math.fsum(products) / math.fsum(offset**2 for offset in offsets)


def _above(upper: str, lower: str, metric: str = ACCURACY) -> Steps:
    """Steps from mode `lower` up to mode `upper`, at each network that has both."""

    def steps(groups: Sequence[Replicates]) -> Iterable[Step]:
        for group, other in _pairs(groups, upper, lower):
            yield from _step(_network(group), group, other, metric)

    return steps


def _pairs(
    groups: Sequence[Replicates], upper: str, lower: str
) -> Iterator[tuple[Replicates, Replicates]]:
    """Configurations of the two modes that differ in nothing else."""
    others = {_all_but(g, "trainable", "k"): g for g in groups if g.spec.mode == lower}
    for group in groups:
        other = others.get(_all_but(group, "trainable", "k"))
        if group.spec.mode == upper and other is not None:
            yield group, other


def _size_of_training_bn(groups: Sequence[Replicates]) -> Iterable[Step]:
    """How far all lies above all_but_bn, at each network that has both."""
    for group, other in _pairs(groups, "all", "all_but_bn"):
        expected = _claimed("size of training BN", "all_minus_all_but_bn", group)
        if expected is not None:
            yield from _step(_network(group), group, other, ACCURACY, expected)


def _shares(groups: Sequence[Replicates]) -> Iterable[Step]:
    """The share of |γ| < 0.01 in each mode for which it is published."""
    for group in groups:
        expected = _claimed("shares of disabled features", group.spec.mode, group)
        share = group.estimate(BELOW)
        if expected is not None and share is not None:
            name = f"{_network(group)} {group.spec.mode}"
            yield Step(name, share, _protocol(group), expected, is_difference=False)


def _claimed(claim: str, which: str, group: Replicates) -> Range | None:
    """The published range for `group`'s network: from minimum to maximum, or around one value."""
    low = high = None
    for row in published():
        if row.target != claim or row.mode != which or not row.claims_about(group.spec):
            continue
        margin = SHARE_MARGIN if claim == "shares of disabled features" else MARGIN
        if row.metric.endswith(("_min", "_max")):
            margin = 0.0
        if not row.metric.endswith("_max"):
            low = row.value - row.precision - margin
        if not row.metric.endswith("_min"):
            high = row.value + row.precision + margin
    return None if low is None or high is None else Range(low, high)


def _step(
    name: str,
    first: Replicates,
    second: Replicates,
    metric: str = ACCURACY,
    expected: Range = RISES,
) -> Iterable[Step]:
    least_spread = _one_image(first) if metric == ACCURACY else 0.0
    difference = estimate(paired_values(first, second, metric), least_spread=least_spread)
    if difference is not None:
        yield Step(name, difference, _protocol(first, second), expected)


def _one_image(group: Replicates) -> float:
    """Points that one test image is worth: equal differences are known no better than that."""
    images = TEST_IMAGES.get(group.spec.dataset)
    return 100 / images if images else 0.0


def _network(group: Replicates) -> str:
    spec = group.spec
    return f"{spec.model} {spec.depth} ×{spec.width}"


def _protocol(*groups: Replicates) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line for group in groups for line in deviations(group)))


def _all_but(group: Replicates, *names: str) -> object:
    """What must be equal for two configurations to be compared, code and data included."""
    fields = group.spec.identity_fields()
    kept = {name: value for name, value in fields.items() if name not in ("seed", *names)}
    return repr(sorted(kept.items())), origin(group.results[0])


STATEMENTS: tuple[tuple[str, str, Steps], ...] = (
    (
        "training BN helps",
        "Training γ and β is worth something: all above all_but_bn",
        _above("all", "all_but_bn"),
    ),
    (
        "size of training BN",
        "Training γ and β is worth 0.5 to 2 points (CIFAR-10), about 2 (ImageNet)",
        _size_of_training_bn,
    ),
    ("bn_only rises with depth", "bn_only rises with depth", _along("depth", "bn_only")),
    ("bn_only rises with width", "bn_only rises with width", _along("width", "bn_only")),
    ("all above bn_only", "Training everything beats bn_only", _above("all", "bn_only")),
    ("bn_only above nothing", "bn_only beats an untrained network", _above("bn_only", "nothing")),
    (
        "bn_only above random_2",
        "γ and β beat as many randomly chosen weights (random_2)",
        _above("bn_only", "random_2"),
    ),
    ("bn_only above output_only", "bn_only beats output_only", _above("bn_only", "output_only")),
    (
        "shortcut_output falls with depth",
        "shortcut_output falls towards chance with depth",
        _falls("depth", "shortcut_output"),
    ),
    (
        "shortcut_output rises with width",
        "shortcut_output rises with width",
        _along("width", "shortcut_output"),
    ),
    (
        "bn_only disables more features",
        "bn_only has a larger share of |γ| < 0.01 than all",
        _above("bn_only", "all", BELOW),
    ),
    (
        "shares of disabled features",
        "The share of |γ| < 0.01 is about 27 % in bn_only and 9 % in all",
        _shares,
    ),
)
