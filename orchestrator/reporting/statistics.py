"""Means over replicates with their uncertainty: t intervals, paired differences, equivalence.

Only `scipy.special` is used (the t distribution), which loads in a fraction of `scipy.stats`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95
EQUIVALENCE = 0.90
"""Of the interval that does two one-sided tests at 5 % each: of equivalence, or of deviation."""


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` replicates, in the values' unit."""

    mean: float
    spread: float | None
    """Sample standard deviation (n−1); None below two values."""
    half_width: float | None
    """Half of the t interval, 95 % unless said otherwise; None below two values: one run says
    nothing about spread."""
    n: int

    @property
    def low(self) -> float:
        """Lower end of the interval; the mean itself where there is none."""
        return self.mean - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        """Upper end of the interval; the mean itself where there is none."""
        return self.mean + (self.half_width or 0.0)


def estimate(
    values: Sequence[float], confidence: float = CONFIDENCE, *, least_spread: float = 0.0
) -> Estimate | None:
    """Mean, standard deviation (at least `least_spread`) and t interval; None for no values."""
    n = len(values)
    if n == 0:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, None, 1)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return estimate_of(mean, max(spread, least_spread), n, confidence)


def estimate_of(mean: float, spread: float, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """The estimate of `n` ≥ 2 values that have this mean and standard deviation."""
    quantile = float(stdtrit(n - 1, 0.5 + confidence / 2))
    return Estimate(mean, spread, quantile * spread / math.sqrt(n), n)


def binomial_spread(percent: float, images: int) -> float:
    """Standard error, in points, of an accuracy measured on so many images."""
    share = min(max(percent / 100, 0.0), 1.0)
    return 100 * math.sqrt(share * (1 - share) / images)


def to_published(
    ours: Estimate, value: float, *, seeds: int, precision: float, least_spread: float = 0.0
) -> Estimate:
    """Ours minus a published mean over `seeds` replicates, with the errors of both at EQUIVALENCE.

    The published replicates are taken to scatter as ours do (no spread is published), ours at
    least by `least_spread`, and the printed value to be anywhere within ± `precision` of their
    mean. Degrees of freedom after Welch and Satterthwaite: the spread is estimated, the precision
    is known. No half width where n < 2 forbids a test.
    """
    if ours.spread is None:
        return Estimate(ours.mean - value, None, None, ours.n)
    spread = max(ours.spread, least_spread)
    of_seeds = spread**2 * (1 / ours.n + 1 / seeds)
    variance = of_seeds + precision**2 / 3
    freedom = (ours.n - 1) * (variance / of_seeds) ** 2 if of_seeds else math.inf
    half_width = float(stdtrit(freedom, 0.5 + EQUIVALENCE / 2)) * math.sqrt(variance)
    return Estimate(ours.mean - value, spread, half_width, ours.n)


def equivalent(difference: Estimate, margin: float) -> bool | None:
    """Whether |mean| < `margin`, shown by the interval; None where n < 2 forbids a test.

    On an interval at EQUIVALENCE these are two one-sided tests at 5 %. Equivalence is shown, not
    assumed: a wide interval is never equivalent.
    """
    if difference.half_width is None:
        return None
    return -margin < difference.low and difference.high < margin


def differs(difference: Estimate, margin: float) -> bool | None:
    """Whether |mean| > `margin`, by a one-sided test at 5 % (as above); None where n < 2."""
    if difference.half_width is None:
        return None
    return difference.low > margin or difference.high < -margin
