"""What belongs in one panel, and the paper's values for it.

A panel has configurations that differ in nothing but mode and the x axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from matplotlib.figure import Figure

from orchestrator.reporting.figures.drawing import network
from orchestrator.reporting.published import Published, as_initialised, by_precision
from orchestrator.reporting.replicates import ACCURACY, Replicates, origin, varied
from orchestrator.reporting.tables import value_of
from trainer.spec import TrialSpec

SEEDS = "Means over seeds, each seed a dot; 95 % t intervals from three seeds on."
MAX_PANELS = 6
"""Of one figure; a sweep that would need more has the rest in the tables."""

NETWORK = {"model", "depth", "width"}

T = TypeVar("T")
Panels = dict[str, list[Replicates]]
"""The configurations of each panel, by its title."""


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure and what stands below it."""

    name: str
    """Of its files."""
    caption: str
    figure: Figure


def split_into_panels(groups: Sequence[Replicates], *along: str) -> Panels:
    """Groups that differ in nothing but mode and `along` share a panel.

    Its title names what tells it from the others; where the network is not what varies along the
    x axis, the title begins with it.
    """
    axes = [a for a in varied([g.spec for g in groups]) if a not in (*along, "trainable")]
    by_network = not NETWORK & set(along)
    if by_network:
        axes = [axis for axis in axes if axis not in NETWORK]
    several_origins = len({origin(group.results[0]) for group in groups}) > 1
    panels: Panels = {}
    for group in groups:
        parts = [network(group.spec)] if by_network else []
        parts += [f"{axis} {value_of(group.spec, axis)}" for axis in axes]
        if several_origins:
            parts.append(f"code {origin(group.results[0])[0][:8]}")
        panels.setdefault(", ".join(parts), []).append(group)
    return panels


def published_accuracy(
    rows: Sequence[Published], spec: TrialSpec, metric: str = ACCURACY
) -> float | None:
    """The published accuracy of `spec`'s network and mode, the most precise one."""
    matching = by_precision(row for row in rows if row.target == metric and row.matches(spec))
    return matching[0].value if matching else None


def published_other_init(rows: Sequence[Published], spec: TrialSpec) -> float | None:
    """The published accuracy of bn_only from an initialisation that could not be identified."""
    values = (r.value for r in rows if r.mode == "bn_only_alt_init" and r.is_of_network(spec))
    return next(values, None) if as_initialised(spec) else None


def first(panels: Mapping[str, T]) -> dict[str, T]:
    """As many panels as a figure has room for."""
    return dict(list(panels.items())[:MAX_PANELS])


def caption(text: str, panels: Mapping[str, object]) -> str:
    """A caption for means over seeds."""
    return f"{text}. {SEEDS}{left_out(panels)}"


def left_out(panels: Mapping[str, object], name: str = "panels") -> str:
    """A sentence where the figure has only the first of the panels."""
    number = len(panels)
    return f" The first {MAX_PANELS} of {number} {name}." if number > MAX_PANELS else ""
