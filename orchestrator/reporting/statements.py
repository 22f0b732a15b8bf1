"""The paper's statements about shapes (what rises, falls, lies above), checked on our results.

A statement is a set of steps that should all go up: differences paired by seed between two
networks or modes. It *holds* where every step's 95 % interval lies above zero, *does not hold*
where one lies below, and is *undecided* otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from orchestrator.reporting.replicates import ACCURACY, Replicates, mode, origin, paired_difference
from orchestrator.reporting.statistics import Estimate
from orchestrator.reporting.tables import with_interval
from orchestrator.reporting.verdicts import deviations

Outcome = Literal["holds", "does not hold", "undecided", "not run"]
BELOW = "trained/gamma_below_0.01"


@dataclass(frozen=True)
class Step:
    """A difference that the paper says is positive."""

    name: str
    difference: Estimate
    """In percentage points."""
    protocol: tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """A statement of the paper and what our results say to it."""

    name: str
    statement: str
    outcome: Outcome
    evidence: tuple[str, ...] = ()
    """A line for each step: `depth 14 → 32: +9.6 ± 0.7 (n 5)`."""
    protocol: tuple[str, ...] = ()
    """How the trainings deviate from the paper's."""


Steps = Callable[[Sequence[Replicates]], Iterable[Step]]


def check(groups: Sequence[Replicates]) -> list[Shape]:
    """Every statement, in the order of the paper's experiments."""
    return [_shape(name, text, list(steps(groups))) for name, text, steps in STATEMENTS]


def _shape(name: str, statement: str, steps: list[Step]) -> Shape:
    evidence = tuple(
        f"{step.name}: {'+' if step.difference.mean >= 0 else ''}"
        f"{with_interval(step.difference)} (n {step.difference.n})"
        for step in steps
    )
    protocol = tuple(dict.fromkeys(line for step in steps for line in step.protocol))
    return Shape(name, statement, _outcome(steps), evidence, protocol)


def _outcome(steps: list[Step]) -> Outcome:
    intervals = [step.difference for step in steps]
    if not intervals:
        return "not run"
    if any(found.half_width is not None and found.high < 0 for found in intervals):
        return "does not hold"
    if all(found.half_width is not None and found.low > 0 for found in intervals):
        return "holds"
    return "undecided"


def _along(axis: str, which: str, sign: int = 1) -> Steps:
    """Steps between neighbouring values of `axis` in mode `which`, all else equal."""

    def steps(groups: Sequence[Replicates]) -> Iterable[Step]:
        lines: dict[object, list[Replicates]] = {}
        for group in groups:
            if mode(group.spec) == which:
                lines.setdefault(_all_but(group, axis), []).append(group)
        for line in lines.values():
            line.sort(key=lambda group: int(getattr(group.spec, axis)))
            for low, high in pairwise(line):
                first, second = (high, low) if sign > 0 else (low, high)
                ends = f"{axis} {getattr(low.spec, axis)} → {getattr(high.spec, axis)}"
                yield from _step(ends, first, second)

    return steps


def _above(upper: str, lower: str, metric: str = ACCURACY) -> Steps:
    """Steps from mode `lower` up to mode `upper`, at each network that has both."""

    def steps(groups: Sequence[Replicates]) -> Iterable[Step]:
        others = {_all_but(g, "trainable", "k"): g for g in groups if mode(g.spec) == lower}
        for group in groups:
            other = others.get(_all_but(group, "trainable", "k"))
            if mode(group.spec) == upper and other is not None:
                spec = group.spec
                yield from _step(f"{spec.model} {spec.depth} ×{spec.width}", group, other, metric)

    return steps


def _step(
    name: str, first: Replicates, second: Replicates, metric: str = ACCURACY
) -> Iterable[Step]:
    difference = paired_difference(first, second, metric)
    if difference is not None:
        protocol = dict.fromkeys((*deviations(first), *deviations(second)))
        yield Step(name, difference, tuple(protocol))


def _all_but(group: Replicates, *names: str) -> object:
    """What must be equal for two configurations to be compared, code and data included."""
    fields = group.spec.identity_fields()
    kept = {name: value for name, value in fields.items() if name not in ("seed", *names)}
    return repr(sorted(kept.items())), origin(group.results[0])


STATEMENTS: tuple[tuple[str, str, Steps], ...] = (
    (
        "training BN helps",
        "Training γ and β is worth something: all above all_but_bn (paper: 0.5 to 2 points)",
        _above("all", "all_but_bn"),
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
        _along("depth", "shortcut_output", sign=-1),
    ),
    (
        "shortcut_output rises with width",
        "shortcut_output rises with width",
        _along("width", "shortcut_output"),
    ),
    (
        "bn_only disables more features",
        "bn_only has a larger share of |γ| < 0.01 than all (paper: 27 % and 9 %)",
        _above("bn_only", "all", BELOW),
    ),
)
