"""Accuracy over training."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from orchestrator.reporting.figures import drawing
from orchestrator.reporting.figures.panels import (
    CaptionedFigure,
    first,
    left_out,
    published_accuracy,
    split_into_panels,
)
from orchestrator.reporting.published import Published
from orchestrator.reporting.replicates import ACCURACY, Replicates
from orchestrator.reporting.statistics import Estimate, estimate


def over_training(
    groups: Sequence[Replicates], rows: Sequence[Published] = ()
) -> CaptionedFigure | None:
    """Test accuracy after each epoch: mean over seeds, band of the 95 % interval; and where the
    paper's ended."""
    panels = split_into_panels([group for group in groups if group.spec.epochs > 0])
    if not panels:
        return None
    drawn = first(panels)
    figure, axes = drawing.panels(len(drawn))
    has_published = False
    for panel, (name, members) in zip(axes, drawn.items(), strict=True):
        for label in drawing.modes(members):
            for member in members:
                if member.spec.mode == label:
                    _curve(panel, label, member)
                    has_published |= _published(panel, label, member, rows)
        for milestone in members[0].spec.milestones:
            panel.axvline(milestone, color="0.6", linewidth=0.8, linestyle=(0, (1, 2)))
        drawing.title(panel, name, members)
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    drawing.percent(axes)
    drawing.legend(figure, axes, has_published)
    text = (
        "Test accuracy over training: means over seeds, with bands of the 95 % t interval "
        "(of one or two seeds: a thin line for each). Dotted upright: the learning rate falls."
    )
    if has_published:
        text += " Dotted level: the accuracy that the paper ends with."
    return CaptionedFigure("training_curves", text + left_out(panels), figure)


def _published(panel: Axes, label: str, member: Replicates, rows: Sequence[Published]) -> bool:
    """The paper's final accuracy as a level line, hollow at its end; whether there is one."""
    value = published_accuracy(rows, member.spec)
    if value is None:
        return False
    panel.plot(
        [0, member.spec.epochs],
        [value, value],
        color=drawing.look(label).colour,
        linestyle=":",
        linewidth=1,
        marker="o",
        markevery=[1],
        markerfacecolor="white",
        zorder=3,
    )
    return True


def _curve(panel: Axes, label: str, member: Replicates) -> None:
    style = drawing.look(label)
    curve = curve_of(member)
    epochs = [epoch for epoch, _ in curve]
    panel.plot(
        epochs,
        [accuracy.mean for _, accuracy in curve],
        color=style.colour,
        linestyle=style.line,
        marker=style.marker,
        markevery=max(1, len(epochs) // 6),
        label=label,
    )
    if len(member.results) < drawing.FEWEST_FOR_INTERVAL:
        _each_seed(panel, member)
        return
    panel.fill_between(
        epochs,
        [accuracy.low for _, accuracy in curve],
        [accuracy.high for _, accuracy in curve],
        color=style.colour,
        alpha=0.15,
        linewidth=0,
    )


def _each_seed(panel: Axes, member: Replicates) -> None:
    for result in member.results:
        points = [(r.epoch, r.metrics[ACCURACY]) for r in result.history if ACCURACY in r.metrics]
        colour = drawing.look(member.spec.mode).colour
        panel.plot(*zip(*points, strict=True), color=colour, linewidth=0.6, alpha=0.6)


def curve_of(group: Replicates, metric: str = ACCURACY) -> list[tuple[int, Estimate]]:
    """(epoch, estimate) at each epoch that a replicate has."""
    values: dict[int, list[float]] = {}
    for result in group.results:
        for record in result.history:
            if metric in record.metrics:
                values.setdefault(record.epoch, []).append(record.metrics[metric])
    return [(epoch, mean) for epoch in sorted(values) if (mean := estimate(values[epoch]))]
