"""Accuracy against a number: an axis of the sweep, a parameter count, k of random_k."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.reporting.figures import drawing
from orchestrator.reporting.figures.panels import (
    MOST_SLICES,
    Drawn,
    Slices,
    alt_init,
    best,
    caption,
    slices,
)
from orchestrator.reporting.published import Published
from orchestrator.reporting.replicates import Replicates, mode
from orchestrator.reporting.statistics import Estimate
from trainer.spec import TrialSpec


def against_axis(
    groups: Sequence[Replicates], axis: str, rows: Sequence[Published]
) -> Drawn | None:
    """Accuracy against a numeric field, a line a mode, a panel for each slice with two values."""

    def x(spec: TrialSpec) -> float:
        return float(getattr(spec, axis))

    found = {k: g for k, g in slices(groups, axis).items() if len({x(m.spec) for m in g}) > 1}
    reference = rows if axis in ("depth", "width") else ()
    title = {"depth": "depth (weight layers)", "width": "width scale W"}.get(axis, axis)
    figure = _line_panels(found, x, title, reference)
    if figure is None:
        return None
    return Drawn(f"accuracy_{axis}", caption(f"Test accuracy against {axis}"), figure)


def against_count(
    groups: Sequence[Replicates], field: str, rows: Sequence[Published]
) -> Drawn | None:
    """Accuracy against the number of BN or of all parameters; lines join networks of a width."""
    counts = {
        (g.spec.model, g.spec.depth, g.spec.width): float(getattr(g.results[0].counts, field))
        for g in groups
    }

    def x(spec: TrialSpec) -> float:
        return counts[spec.model, spec.depth, spec.width]

    found = {
        key: members
        for key, members in slices(groups, "depth", "width").items()
        if len({x(member.spec) for member in members}) > 1
    }
    title = {"bn": "BatchNorm parameters", "total": "parameters"}[field]
    figure = _line_panels(found, x, title, rows, ticks=False)
    if figure is None:
        return None
    return Drawn(f"accuracy_{field}_parameters", caption(f"Test accuracy against {title}"), figure)


def _line_panels(
    found: Slices,
    x: Callable[[TrialSpec], float],
    title: str,
    rows: Sequence[Published],
    ticks: bool = True,
) -> Figure | None:
    if not found:
        return None
    shown = dict(list(found.items())[:MOST_SLICES])
    figure, axes = drawing.panels(len(shown))
    paper = False
    for panel, (name, members) in zip(axes, shown.items(), strict=True):
        for label in drawing.modes(members):
            paper |= _lines(panel, label, [m for m in members if mode(m.spec) == label], x, rows)
        if ticks:
            drawing.ticks_at(panel, [x(member.spec) for member in members])
        else:
            drawing.logarithmic(panel)
        drawing.title(panel, name, members)
        panel.set_xlabel(title)
    drawing.percent(axes)
    drawing.legend(figure, axes, paper)
    return figure


def _lines(
    panel: Axes,
    label: str,
    members: Sequence[Replicates],
    x: Callable[[TrialSpec], float],
    rows: Sequence[Published],
) -> bool:
    """Ours with intervals, and the paper's hollow; whether there were any of the paper's."""
    style = drawing.look(label)
    paper = False
    for width in sorted({member.spec.width for member in members}):
        line = sorted((m for m in members if m.spec.width == width), key=lambda m: x(m.spec))
        values = [(x(m.spec), found) for m in line if (found := m.estimate())]
        _means(panel, values, style, label)
        for member in line:
            drawing.seeds(panel, x(member.spec), member.values(), style.colour)
        theirs = [(x(m.spec), value) for m in line if (value := best(rows, m.spec)) is not None]
        if theirs:
            paper = True
            panel.plot(
                *zip(*theirs, strict=True),
                color=style.colour,
                marker=style.marker,
                linestyle=":",
                linewidth=1,
                markersize=8,
                markerfacecolor="none",
                zorder=3,
            )
        if label == "bn_only":
            _unidentified(panel, [(x(m.spec), alt_init(rows, m.spec)) for m in line])
    return paper


def _means(
    panel: Axes, values: Sequence[tuple[float, Estimate]], style: drawing.Look, label: str
) -> None:
    """A line through the means, with their intervals."""
    panel.errorbar(
        [place for place, _ in values],
        [found.mean for _, found in values],
        yerr=[found.half_width or 0.0 for _, found in values],
        color=style.colour,
        marker=style.marker,
        linestyle=style.line,
        capsize=2.5,
        elinewidth=1,
        label=label,
    )


def _unidentified(panel: Axes, points: Sequence[tuple[float, float | None]]) -> None:
    """The paper's second bn_only curve: how its BatchNorm began is not known, so a line only."""
    known = [(place, value) for place, value in points if value is not None]
    if known:
        label = "paper, other init"
        panel.plot(*zip(*known, strict=True), "+:", color="0.5", linewidth=1, label=label)


def against_k(groups: Sequence[Replicates]) -> Drawn | None:
    """random_k against k; bn_only of the same network as a level."""
    found = {
        key: members
        for key, members in slices(groups).items()
        if len({member.spec.k for member in members if member.spec.k}) > 1
    }
    if not found:
        return None
    shown = dict(list(found.items())[:MOST_SLICES])
    figure, axes = drawing.panels(len(shown))
    for panel, (name, members) in zip(axes, shown.items(), strict=True):
        _k_panel(panel, members)
        drawing.title(panel, name, members)
    drawing.percent(axes)
    drawing.legend(figure, axes)
    text = "Accuracy of k random weights for each output channel; k = 2 is as many as γ and β"
    return Drawn("random_k", caption(text), figure)


def _k_panel(panel: Axes, members: Sequence[Replicates]) -> None:
    line = sorted((m for m in members if m.spec.k), key=lambda m: m.spec.k)
    values = [(float(m.spec.k), found) for m in line if (found := m.estimate())]
    style = drawing.look("random_2")
    _means(panel, values, style, "random_k")
    for member in line:
        drawing.seeds(panel, member.spec.k, member.values(), style.colour)
    for member in members:
        level = member.estimate()
        if mode(member.spec) == "bn_only" and level:
            colour = drawing.look("bn_only").colour
            panel.axhline(level.mean, color=colour, label="bn_only")
            panel.axhspan(level.low, level.high, color=colour, alpha=0.15, linewidth=0)
    drawing.ticks_at(panel, [k for k, _ in values])
    panel.set_xlabel("k (trained weights of each output channel)")
