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
    value_of,
)
from orchestrator.reporting.published import Published
from orchestrator.reporting.replicates import Replicates, mode


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
            bars = {value_of(m.spec, axis): m for m in members if mode(m.spec) == label}
            places = [float(values.index(value)) for value in bars]
            if axis != "trainable":
                offset = (position - (len(labels) - 1) / 2) * 0.8 / len(labels)
                places = [place + offset for place in places]
            width = 0.6 if axis == "trainable" else 0.8 / len(labels)
            has_published |= _bars(panel, label, places, list(bars.values()), width, rows)
        names_height = max(names_height, drawing.names_below(panel, values))
        drawing.title(panel, name, members)
    drawing.make_higher(figure, names_height * drawing.rows(len(drawn)))
    drawing.percent(axes)
    if axis != "trainable" or has_published:
        drawing.legend(figure, axes, has_published)
    return CaptionedFigure(
        f"accuracy_by_{axis}", caption(f"Test accuracy by {axis}", panels), figure
    )


def _bars(
    panel: Axes,
    label: str,
    places: list[float],
    members: Sequence[Replicates],
    width: float,
    rows: Sequence[Published],
) -> bool:
    style = drawing.look(label)
    estimates = [member.estimate() for member in members]
    panel.bar(
        places,
        [e.mean if e else 0.0 for e in estimates],
        width,
        yerr=[(e.half_width or 0.0) if e else 0.0 for e in estimates],
        color="white" if style.hatch else "0.8",
        edgecolor=style.colour,
        hatch=style.hatch,
        capsize=2.5,
        label=label,
    )
    has_published = False
    for place, member in zip(places, members, strict=True):
        drawing.seeds(panel, place, member.values(), "0.3")
        if (value := published_accuracy(rows, member.spec)) is not None:
            has_published = True
            panel.plot([place], [value], color="0.4", marker="o", markerfacecolor="white")
    return has_published
