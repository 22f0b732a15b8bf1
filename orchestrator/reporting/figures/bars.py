"""Accuracy by category: initialisations, optimizers, schedules, modes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from orchestrator.reporting.figures import drawing
from orchestrator.reporting.figures.panels import (
    MOST_SLICES,
    Drawn,
    best,
    caption,
    slices,
    value_of,
)
from orchestrator.reporting.published import Published
from orchestrator.reporting.replicates import Replicates, mode


def by_category(
    groups: Sequence[Replicates], axis: str, rows: Sequence[Published] = ()
) -> Drawn | None:
    """Bars: a group for each value of `axis`, a bar a mode, a panel for each slice."""
    found = dict(list(slices(groups, axis).items())[:MOST_SLICES])
    figure, axes = drawing.panels(len(found))
    paper, names_height = False, 0.0
    for panel, (name, members) in zip(axes, found.items(), strict=True):
        values = list(dict.fromkeys(value_of(member.spec, axis) for member in members))
        labels = drawing.modes(members)
        for position, label in enumerate(labels):
            bars = {value_of(m.spec, axis): m for m in members if mode(m.spec) == label}
            places = [float(values.index(value)) for value in bars]
            if axis != "trainable":
                offset = (position - (len(labels) - 1) / 2) * 0.8 / len(labels)
                places = [place + offset for place in places]
            width = 0.6 if axis == "trainable" else 0.8 / len(labels)
            paper |= _bars(panel, label, places, list(bars.values()), width, rows)
        names_height = max(names_height, drawing.names_below(panel, values))
        drawing.title(panel, name, members)
    drawing.make_higher(figure, names_height * drawing.rows(len(found)))
    drawing.percent(axes)
    if axis != "trainable" or paper:
        drawing.legend(figure, axes, paper)
    return Drawn(f"accuracy_by_{axis}", caption(f"Test accuracy by {axis}"), figure)


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
        [found.mean if found else 0.0 for found in estimates],
        width,
        yerr=[(found.half_width or 0.0) if found else 0.0 for found in estimates],
        color="white" if style.hatch else "0.8",
        edgecolor=style.colour,
        hatch=style.hatch,
        capsize=2.5,
        label=label,
    )
    paper = False
    for place, member in zip(places, members, strict=True):
        drawing.seeds(panel, place, member.values(), "0.3")
        if (value := best(rows, member.spec)) is not None:
            paper = True
            panel.plot([place], [value], color="0.4", marker="o", markerfacecolor="white")
    return paper
