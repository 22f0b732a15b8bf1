"""Points of ranges: `sample` in a sweep file. Point i is a function of the seed and i.

The points are Sobol's, which fill all ranges evenly however many there are: 64 are the first 32 and
32 more. What the seed does is to flip the same bits of all points, others in each range, which
leaves them as even as they were. All else is arithmetic that no release of a library changes, and
the values are rounded: they read well, and are the same on any machine.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

MAX_POINTS = 10_000
DIGITS = 3
"""Significant digits of a sampled number; in a `uniform` range of its width's."""
_BITS = 30
_DRAWS = 8
"""For each point, until as many different ones are found as are wanted."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included, evenly or evenly in their logarithm."""

    kind: Literal["log", "uniform"]
    low: float
    high: float
    whole: bool
    """Whether the field has whole numbers only."""

    def at(self, share: float) -> float:
        """The number below which `share` (from 0, below 1) of the range lies."""
        # A whole number stands for all up to the next, so that the last is as likely as the others.
        low, high = self.low, self.high + self.whole
        value = low + share * (high - low)
        if self.kind == "log":
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        if self.whole:
            rounded: float = math.floor(value)
        elif self.kind == "log":
            rounded = float(f"{value:.{DIGITS}g}")
        else:
            rounded = round(value, DIGITS - math.ceil(math.log10(high - low)))
        return min(max(rounded, self.low), self.high)


Ranges = Mapping[str, Range | tuple[Any, ...]]
"""Of each field a range, or the values to choose from."""


@dataclass(frozen=True)
class Sample:
    """What a sweep file says under `sample`."""

    count: int
    of: Ranges
    seed: int = 0

    def points(self) -> list[dict[str, Any]]:
        """`count` different points, or as many as there seem to be.

        They do not depend on the order in which the ranges are written.
        """
        from scipy.stats import qmc  # a second of imports that other sweeps spare

        names = sorted(self.of)
        shifts = [_shift(self.seed, name) for name in names]
        doublings = math.ceil(math.log2(_DRAWS * self.count))
        draws = qmc.Sobol(len(names), scramble=False, bits=_BITS).random_base2(doublings)
        found: dict[tuple[Any, ...], None] = {}
        for row in draws.tolist():
            shares = [_shifted(u, shift) for u, shift in zip(row, shifts, strict=True)]
            found[tuple(_value(self.of[n], u) for n, u in zip(names, shares, strict=True))] = None
            if len(found) == self.count:
                break
        return [dict(zip(names, point, strict=True)) for point in found]


def _shift(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - _BITS)


def _shifted(share: float, shift: int) -> float:
    """In the middle of what the last bit leaves open, so that it is never 0."""
    steps = 1 << _BITS
    return ((int(share * steps) ^ shift) + 0.5) / steps


def _value(values: Range | tuple[Any, ...], share: float) -> Any:
    return values.at(share) if isinstance(values, Range) else values[int(share * len(values))]
