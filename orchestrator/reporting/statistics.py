"""Means over replicates with their uncertainty: t intervals, paired differences, equivalence.

Only `scipy.special` is used (the t distribution), which loads in a fraction of `scipy.stats`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` replicates, in the values' unit."""

    mean: float
    spread: float | None
    """Sample standard deviation (n−1); None below two values."""
    half_width: float | None
    """Half of the 95 % t interval; None below two values: one run says nothing about spread."""
    n: int

    @property
    def low(self) -> float:
        """Lower end of the interval; the mean itself where there is none."""
        return self.mean - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        """Upper end of the interval; the mean itself where there is none."""
        return self.mean + (self.half_width or 0.0)


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate | None:
    """Mean, standard deviation and t interval; None for no values."""
    n = len(values)
    if n == 0:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, None, 1)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    quantile = float(stdtrit(n - 1, 0.5 + confidence / 2))
    return Estimate(mean, spread, quantile * spread / math.sqrt(n), n)


def equivalent(difference: Estimate, margin: float, significance: float = 0.05) -> bool | None:
    """Whether |difference| < `margin` by two one-sided t tests; None where n < 2 forbids a test.

    Equivalence is shown, not assumed: a wide interval is never equivalent.
    """
    if difference.spread is None:
        return None
    error = difference.spread / math.sqrt(difference.n)
    if error == 0:
        return abs(difference.mean) < margin
    closest = (margin - abs(difference.mean)) / error
    return float(stdtr(difference.n - 1, -closest)) < significance


def differs(difference: Estimate, margin: float, significance: float = 0.05) -> bool | None:
    """Whether |difference| > `margin`, by a one-sided t test; None where n < 2 forbids a test."""
    if difference.spread is None:
        return None
    error = difference.spread / math.sqrt(difference.n)
    if error == 0:
        return abs(difference.mean) > margin
    beyond = (abs(difference.mean) - margin) / error
    return float(stdtr(difference.n - 1, -beyond)) < significance
