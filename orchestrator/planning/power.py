"""`plan --power D`: how many seeds decide whether two configurations differ by D points.

From the spread over seeds that this store has seen, by the power of the two-sided t test that
`compare` does. Where modes of one seed move together, as paired ones do, fewer seeds are enough.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.planning.history import finished
from orchestrator.planning.plan import Plan
from orchestrator.store.store import Store
from trainer.spec import TrialSpec

POWER = 0.8
"""The chance of a clear answer where there is such a difference."""
LEVEL = 0.05
"""The chance of one where there is none."""
MAX_SEEDS = 1000
_ALIKE = ("model", "options", "dataset", "data_id", "train_subset")
"""What configurations share whose spread is taken where the plan's own have none yet."""


@dataclass(frozen=True)
class Power:
    """What a difference costs."""

    points: float
    """The difference in test accuracy, in percentage points."""
    spread: float
    """Standard deviation over seeds, in percentage points, pooled."""
    configurations: int
    """Of so many configurations with several seeds it is, ..."""
    trials: int
    """... which have so many trials."""
    alike: bool
    """They are not the plan's own, only like them."""
    seeds: int | None
    """For each configuration; None: more than MAX_SEEDS."""
    planned_seeds: int
    """The fewest that a configuration of the plan has."""
    hours: float | None
    """Training of all configurations with so many seeds, one trial after another; None: unknown."""

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def power(plan: Plan, store: Store, points: float) -> Power | None:
    """Of a difference of `points`; None where the store has no configuration like the plan's with
    two seeds."""
    own = {row.config_id for row in plan.rows}
    alike = {_likeness(row.spec) for row in plan.rows}
    same, near = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    planned = [(row.spec, row.status) for row in plan.rows]
    for spec, status in finished(store, planned):
        if status.test_accuracy is not None and math.isfinite(status.test_accuracy):
            groups = same if spec.config_id in own else near
            if groups is same or _likeness(spec) in alike:
                groups[spec.config_id].append(status.test_accuracy)
    for groups in (same, near):
        several = [values for values in groups.values() if len(values) > 1]
        if several:
            return _power(plan, points, several, alike=groups is near)
    return None


def _likeness(spec: TrialSpec) -> tuple[Any, ...]:
    return tuple(getattr(spec, name) for name in _ALIKE)


def _power(plan: Plan, points: float, several: Sequence[list[float]], *, alike: bool) -> Power:
    spread = pooled_spread(several)
    seeds = seeds_for(points, spread)
    groups = plan.groups()
    seconds = [group.estimate.seconds if group.estimate else None for group in groups]
    hours = None
    if seeds and None not in seconds:
        hours = seeds * math.fsum(s or 0.0 for s in seconds) / 3600
    trials = sum(map(len, several))
    fewest = min(group.trials for group in groups)
    return Power(points, spread, len(several), trials, alike, seeds, fewest, hours)


def pooled_spread(groups: Iterable[Sequence[float]]) -> float:
    """The standard deviation within groups of at least two values, over all of them."""
    squares, degrees = 0.0, 0
    for values in groups:
        mean = math.fsum(values) / len(values)
        squares += math.fsum((value - mean) ** 2 for value in values)
        degrees += len(values) - 1
    return math.sqrt(squares / degrees)


def seeds_for(points: float, spread: float) -> int | None:
    """The fewest seeds of each of two configurations with which a paired t test finds a difference
    of `points` with POWER, at LEVEL; None for more than MAX_SEEDS.

    `spread`: over the seeds of one configuration, which are taken to move apart from the other's.
    """
    for seeds in range(2, MAX_SEEDS + 1):
        if chance(points, spread, seeds) >= POWER:
            return seeds
    return None


def chance(points: float, spread: float, seeds: int) -> float:
    """The chance that the test finds the difference."""
    from scipy.special import nctdtr, stdtrit

    if not spread:
        return 1.0
    centre = points * math.sqrt(seeds) / (math.sqrt(2) * spread)
    beyond = float(stdtrit(seeds - 1, 1 - LEVEL / 2))
    below, above = nctdtr(seeds - 1, centre, [-beyond, beyond])
    # Far from the centre scipy's sum can give no number: then the chance is as good as 1.
    return 1.0 if math.isnan(above) else float(1 - above + (0.0 if math.isnan(below) else below))
