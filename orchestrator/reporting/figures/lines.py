"""Accuracy against a number: an axis of the sweep, a parameter count, k of random_k."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from orchestrator.planning import costs
from orchestrator.reporting.figures import drawing
from orchestrator.reporting.figures.panels import (
    CaptionedFigure,
    Panels,
    caption,
    first,
    published_accuracy,
    published_other_init,
    split_into_panels,
)
from orchestrator.reporting.published import Published
from orchestrator.reporting.replicates import Replicates
from trainer.spec import TrialSpec

X = Callable[[TrialSpec], float]
"""Where a configuration stands on the x axis."""


LABELS = {
    "depth": "depth (weight layers)",
    "width": "width scale W",
    "train_subset": "training images",
}


def x_on_axis(spec: TrialSpec, axis: str) -> float | None:
    """The field as a place on an x axis; None where it has none, as a name or a switch."""
    value = getattr(spec, axis)
    if axis == "train_subset":
        value = costs.training_images(spec)  # 0 means all
    if axis == "image_size" and value == 0:
        return None  # as the data has them
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def against_axis(
    groups: Sequence[Replicates], axis: str, rows: Sequence[Published]
) -> CaptionedFigure | None:
    """Accuracy against a field of the spec with an x for each value, a line for each mode."""

    def x(spec: TrialSpec) -> float:
        return x_on_axis(spec, axis) or 0.0

    reference = rows if axis in ("depth", "width") else ()
    panels = split_into_panels(groups, axis)
    return _figure(f"accuracy_{axis}", axis, panels, x, LABELS.get(axis, axis), reference)


def against_count(
    groups: Sequence[Replicates], field: str, rows: Sequence[Published]
) -> CaptionedFigure | None:
    """Accuracy against the number of BN or of all parameters; see `_networks_in_lines`."""
    counts = {_network(g.spec): float(getattr(g.results[0].counts, field)) for g in groups}

    def x(spec: TrialSpec) -> float:
        return counts[_network(spec)]

    panels = split_into_panels(groups, "depth", "width")
    label = {"bn": "BatchNorm parameters", "total": "parameters"}[field]
    name = f"accuracy_{field}_parameters"
    return _figure(name, label, panels, x, label, rows, ticks=False)


def _network(spec: TrialSpec) -> tuple[object, ...]:
    return (spec.model, spec.depth, spec.width, spec.options, spec.code_sha256)


def _figure(
    name: str,
    against: str,
    panels: Panels,
    x: X,
    label: str,
    rows: Sequence[Published],
    ticks: bool = True,
) -> CaptionedFigure | None:
    """The panels that have several places on the x axis; None where none has."""
    panels = {
        title: members
        for title, members in panels.items()
        if len({x(member.spec) for member in members}) > 1
    }
    if not panels:
        return None
    drawn = first(panels)
    figure, axes = drawing.panels(len(drawn))
    has_published = False
    for panel, (title, members) in zip(axes, drawn.items(), strict=True):
        for mode in drawing.modes(members):
            lines = _networks_in_lines([m for m in members if m.spec.mode == mode])
            for end, line in lines.items():
                line.sort(key=lambda m: x(m.spec))
                has_published |= _line(panel, mode, line, x, rows)
                if len(lines) > 1:
                    _name_at_end(panel, end, x(line[-1].spec), line[-1])
        if ticks:
            drawing.ticks_at(panel, [x(member.spec) for member in members])
        else:
            drawing.logarithmic(panel)
        drawing.title(panel, title, members)
        panel.set_xlabel(label)
    drawing.percent(axes)
    drawing.legend(figure, axes, has_published)
    return CaptionedFigure(name, caption(f"Test accuracy against {against}", panels), figure)


def _networks_in_lines(members: Sequence[Replicates]) -> dict[str, list[Replicates]]:
    """A line joins networks that differ in depth alone; one that is the only one of its width is
    joined with the other widths of its depth. The key says what a line has in common."""
    lines: dict[str, list[Replicates]] = {}
    for member in members:
        lines.setdefault(f"width {member.spec.width}", []).append(member)
    for width, line in list(lines.items()):
        if len(line) == 1:
            depth = lines.pop(width)[0].spec.depth
            lines[f"depth {depth}"] = [member for member in members if member.spec.depth == depth]
    return lines


def _name_at_end(panel: Axes, text: str, x: float, last: Replicates) -> None:
    """What a line's networks have in common (`width 2`), beside its last point."""
    if accuracy := last.estimate():
        panel.annotate(
            text,
            (x, accuracy.mean),
            xytext=(4, -9),
            textcoords="offset points",
            color=drawing.look(last.spec.mode).colour,
            fontsize=7,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
            zorder=5,
        )


def _line(panel: Axes, name: str, line: list[Replicates], x: X, rows: Sequence[Published]) -> bool:
    """Ours with intervals, and the paper's hollow; whether there were any of the paper's."""
    style = drawing.look(name)
    means = [(x(m.spec), accuracy) for m in line if (accuracy := m.estimate())]
    drawing.line_through(panel, means, style, name)
    for member in line:
        drawing.seeds(panel, x(member.spec), member.values(), style.colour)
    if name == "bn_only":
        _other_init(panel, [(x(m.spec), published_other_init(rows, m.spec)) for m in line])
    published = [(x(m.spec), published_accuracy(rows, m.spec)) for m in line]
    published = [(place, value) for place, value in published if value is not None]
    if published:
        panel.plot(
            *zip(*published, strict=True),
            color=style.colour,
            marker=style.marker,
            linestyle=":",
            linewidth=1,
            markersize=8,
            markerfacecolor="none",
            zorder=3,
        )
    return bool(published)


def _other_init(panel: Axes, points: Sequence[tuple[float, float | None]]) -> None:
    """The paper's second bn_only curve: how its BatchNorm began is not known, so a line only."""
    known = [(place, value) for place, value in points if value is not None]
    if known:
        label = "paper, other init"
        panel.plot(*zip(*known, strict=True), "+:", color="0.5", linewidth=1, label=label)


def against_k(groups: Sequence[Replicates]) -> CaptionedFigure | None:
    """random_k against k; bn_only of the same network as a level."""
    panels = {
        title: members
        for title, members in split_into_panels(groups).items()
        if len({member.spec.k for member in members if member.spec.k}) > 1
    }
    if not panels:
        return None
    drawn = first(panels)
    figure, axes = drawing.panels(len(drawn))
    for panel, (title, members) in zip(axes, drawn.items(), strict=True):
        _k_panel(panel, members)
        drawing.title(panel, title, members)
    drawing.percent(axes)
    drawing.legend(figure, axes)
    text = "Accuracy of k random weights for each output channel; k = 2 is as many as γ and β"
    return CaptionedFigure("random_k", caption(text, panels), figure)


def _k_panel(panel: Axes, members: Sequence[Replicates]) -> None:
    line = sorted((m for m in members if m.spec.k), key=lambda m: m.spec.k)
    means = [(float(m.spec.k), accuracy) for m in line if (accuracy := m.estimate())]
    style = drawing.look("random_2")
    drawing.line_through(panel, means, style, "random_k")
    for member in line:
        drawing.seeds(panel, member.spec.k, member.values(), style.colour)
    for member in members:
        level = member.estimate()
        if member.spec.mode == "bn_only" and level:
            colour = drawing.look("bn_only").colour
            panel.axhline(level.mean, color=colour, label="bn_only")
            if level.n >= drawing.FEWEST_FOR_INTERVAL:
                panel.axhspan(level.low, level.high, color=colour, alpha=0.15, linewidth=0)
    drawing.ticks_at(panel, [k for k, _ in means])
    panel.set_xlabel("k (trained weights of each output channel)")
