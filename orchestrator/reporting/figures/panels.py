"""What belongs in one panel: configurations that differ in nothing but mode and the x axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from orchestrator.reporting.figures.drawing import network
from orchestrator.reporting.published import Published, alternative, as_initialised
from orchestrator.reporting.replicates import ACCURACY, Replicates, mode, origin, varied
from orchestrator.reporting.tables import show
from trainer.spec import TrialSpec

MOST_SLICES = 6
"""Panels of one figure; a sweep with more slices has the rest in the tables."""

NETWORK = {"model", "depth", "width"}

Slices = dict[str, list[Replicates]]


@dataclass(frozen=True)
class Drawn:
    """A figure and what stands below it."""

    name: str
    """Of its files."""
    caption: str
    figure: Figure


def slices(groups: Sequence[Replicates], *along: str) -> Slices:
    """Groups that differ in nothing but mode and `along`; the key names what tells slices apart.

    Where the network is not what varies along the x axis, the name begins with it.
    """
    axes = [a for a in varied([g.spec for g in groups]) if a not in (*along, "trainable")]
    by_network = not NETWORK & set(along)
    if by_network:
        axes = [axis for axis in axes if axis not in NETWORK]
    several_origins = len({origin(group.results[0]) for group in groups}) > 1
    found: Slices = {}
    for group in groups:
        parts = [network(group.spec)] if by_network else []
        parts += [f"{axis} {value_of(group.spec, axis)}" for axis in axes]
        if several_origins:
            parts.append(f"code {origin(group.results[0])[0][:8]}")
        found.setdefault(", ".join(parts), []).append(group)
    return found


def best(rows: Sequence[Published], spec: TrialSpec, metric: str = ACCURACY) -> float | None:
    """The published accuracy of `spec`'s network and mode, the most precise one."""
    found = [row for row in rows if row.target == metric and row.matches(spec)]
    return min(found, key=lambda row: row.precision).value if found else None


def alt_init(rows: Sequence[Published], spec: TrialSpec) -> float | None:
    """The published accuracy of bn_only from an initialisation that could not be identified."""
    network = (spec.dataset, spec.model, spec.depth, spec.width)
    named = {(r.dataset, r.architecture, r.depth, r.width): r.value for r in rows if alternative(r)}
    return named.get(network) if as_initialised(spec) else None


def value_of(spec: TrialSpec, axis: str) -> str:
    """The field's value as shown; of `trainable` the mode."""
    return mode(spec) if axis == "trainable" else show(getattr(spec, axis))


def caption(text: str) -> str:
    """A caption for means over seeds."""
    return f"{text}. Means over seeds with 95 % t intervals."
