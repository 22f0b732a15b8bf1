"""Accuracy by category: initialisations, optimizers, schedules, modes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from orchestrator.reporting.figures import drawing
from orchestrator.reporting.figures.panels import (
    CaptionedFigure,
    caption,
    first,
    published_accuracy,
    split_into_panels,
)
from orchestrator.reporting.published import Published
from orchestrator.reporting.replicates import Replicates
from orchestrator.reporting.tables import value_of


def by_category(
    groups: Sequence[Replicates], axis: str, rows: Sequence[Published] = ()
) -> CaptionedFigure | None:
    """Bars: a group for each value of `axis`, a bar for each mode."""
    panels = split_into_panels(groups, axis)
    drawn = first(panels)
    figure, axes = drawing.panels(len(drawn))
    has_published, names_height = False, 0.0
    for panel, (name, members) in zip(axes, drawn.items(), strict=True):
        values = list(dict.fromkeys(value_of(member.spec, axis) for member in members))
        labels = drawing.modes(members)
        for position, label in enumerate(labels):
            width, offset = 0.6, 0.0
            if axis != "trainable":
                width = 0.8 / len(labels)
                offset = (position - (len(labels) - 1) / 2) * width
            bars = {
                values.index(value_of(member.spec, axis)) + offset: member
                for member in members
                if member.spec.mode == label
            }
            drawing.bars(panel, label, bars, width)
            has_published |= _published(panel, bars, rows)
        names_height = max(names_height, drawing.names_below(panel, values))
        drawing.title(panel, name, members)
    drawing.make_higher(figure, names_height * drawing.rows(len(drawn)))
    drawing.percent(axes)
    if axis != "trainable" or has_published:
        drawing.legend(figure, axes, has_published)
    return CaptionedFigure(
        f"accuracy_by_{axis}", caption(f"Test accuracy by {axis}", panels), figure
    )


def _published(panel: Axes, bars: dict[float, Replicates], rows: Sequence[Published]) -> bool:
    """The paper's values over our bars, hollow; whether there were any."""
    values = {x: published_accuracy(rows, member.spec) for x, member in bars.items()}
    known = {x: value for x, value in values.items() if value is not None}
    panel.plot(list(known), list(known.values()), "o", color="0.4", markerfacecolor="white")
    return bool(known)
