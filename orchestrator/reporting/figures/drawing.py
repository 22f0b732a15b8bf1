"""How the report's figures look: one colour, marker and line for each mode, readable in grey."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from orchestrator.reporting.replicates import ACCURACY, Replicates
from orchestrator.reporting.statistics import Estimate
from trainer.networks.descriptions import NETWORKS
from trainer.spec import TrialSpec

RC = {
    "svg.hashsalt": "bnsweep",  # the same results give the same bytes
    "font.size": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "hatch.linewidth": 0.6,
}
_NO_DATE: dict[str, Any] = {"svg": {"Date": None}, "png": {"Software": None}}
PANEL_WIDTH, PANEL_HEIGHT, LEGEND_ROW, CHARACTER = 3.4, 2.4, 0.2, 0.065
"""Inches: one column of a journal, a line of a legend, a letter of a label."""
DPI = 150
MARKER_ROOM = 3.0
"""Percentage points of a scale beyond its ends, so that no marker is cut."""
MOST_TICKS = 10
"""Measured places on an x axis that are all written out."""


@dataclass(frozen=True)
class Look:
    """How a mode is drawn: distinct by marker, line and hatch where colour is lost."""

    colour: str
    marker: str
    line: Any
    hatch: str


_LONG = (0, (6, 2))
_LOOKS = {
    "all": Look("#000000", "o", "-", ""),
    "bn_only": Look("#0072B2", "s", "-", "///"),
    "random_2": Look("#E69F00", "^", "--", "..."),
    "output_only": Look("#D55E00", "v", ":", "xxx"),
    "shortcut_output": Look("#009E73", "D", "-.", "\\\\\\"),
    "bn_shortcut_output": Look("#56B4E9", "P", _LONG, "+++"),
    "all_but_bn": Look("#7F7F7F", "X", "--", "---"),
    "nothing": Look("#A6A6A6", "x", ":", "ooo"),
    "bn_output": Look("#CC79A7", "<", "-.", "|||"),
    "shortcut_only": Look("#8C6D31", ">", _LONG, "***"),
    "gamma_only": Look("#332288", "p", "--", "//"),
    "beta_only": Look("#88CCEE", "h", ":", "\\\\"),
    "bias_only": Look("#AA4499", "d", "-.", "xx"),
}
_OTHERS = [Look("#E69F00", marker, "--", hatch) for marker, hatch in (("1", "."), ("2", "o"))]


def look(label: str) -> Look:
    """The look of a mode; other k of random_k share a colour."""
    return _LOOKS.get(label) or _OTHERS[sum(label.encode()) % len(_OTHERS)]


def in_order(labels: Sequence[str]) -> list[str]:
    """Distinct modes in the order in which every figure names them."""
    known = [label for label in _LOOKS if label in labels]
    others = sorted(set(labels) - set(known), key=lambda label: (label.startswith("paper"), label))
    return known + others


def modes(groups: Sequence[Replicates]) -> list[str]:
    """The groups' modes, in order."""
    return in_order([group.spec.mode for group in groups])


def network(spec: TrialSpec) -> str:
    """`ResNet-14`, with the width where it is not 1: `ResNet-14 ×2`.

    One that is not built in has its name, since nobody asks here how its code calls it.
    """
    if "/" in spec.model:
        return spec.model
    width = f" ×{spec.width}" if spec.width != 1 else ""
    label = NETWORKS[spec.model].label if spec.model in NETWORKS else spec.model
    return f"{label}-{spec.depth}{width}"


COLUMNS = 3


def rows(count: int, columns: int = COLUMNS) -> int:
    """Rows of a figure of so many panels."""
    return -(-count // columns)


def panels(
    count: int, columns: int = COLUMNS, height: float = PANEL_HEIGHT, share_y: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in rows of up to `columns`, on one scale of y if so asked."""
    across = min(count, columns)
    down = rows(count, columns)
    width = PANEL_WIDTH * across if across > 1 else 5.0
    with mpl.rc_context(RC):
        figure = Figure(figsize=(width, height * down), layout="constrained")
        axes = figure.subplots(down, across, squeeze=False, sharey=share_y).ravel().tolist()
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def legend(figure: Figure, axes: Sequence[Axes], paper: bool = False) -> None:
    """One legend below all panels; `paper` adds what the hollow markers are."""
    handles: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    handles = {label: handles[label] for label in in_order(list(handles))}
    if paper:
        (handles["paper (hollow)"],) = axes[0].plot(
            [], [], color="0.4", marker="o", linestyle=":", markerfacecolor="white", linewidth=1
        )
    widest = 0.75 + 0.075 * max((len(label) for label in handles), default=0)  # inches
    columns = max(1, min(len(handles), int(figure.get_size_inches()[0] / widest)))
    make_higher(figure, LEGEND_ROW * rows(len(handles), columns))
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        handlelength=2.6,
    )


FEWEST_FOR_INTERVAL = 3
"""Of two seeds an interval is 12.7 standard errors to each side: it would stretch the axis and hide
everything, so the seeds themselves are drawn. The tables have the numbers."""


def margin(estimate: Estimate) -> float:
    """Half of the interval where it is worth drawing; else nan, which draws nothing."""
    if estimate.half_width is None or estimate.n < FEWEST_FOR_INTERVAL:
        return float("nan")
    return estimate.half_width


def line_through(
    axes: Axes,
    points: Sequence[tuple[float, Estimate]],
    style: Look,
    label: str,
) -> None:
    """A line through the means at each x, with their intervals."""
    axes.errorbar(
        [x for x, _ in points],
        [estimate.mean for _, estimate in points],
        yerr=[margin(estimate) for _, estimate in points],
        color=style.colour,
        marker=style.marker,
        linestyle=style.line,
        capsize=2.5,
        elinewidth=1,
        label=label,
    )


def bars(
    axes: Axes,
    label: str,
    groups: Mapping[float, Replicates],
    width: float,
    metric: str = ACCURACY,
) -> None:
    """A bar for each configuration at its x, in the look of the mode `label`, with its seeds."""
    style = look(label)
    estimates = [group.estimate(metric) for group in groups.values()]
    axes.bar(
        list(groups),
        [estimate.mean if estimate else 0.0 for estimate in estimates],
        width,
        yerr=[margin(estimate) if estimate else 0.0 for estimate in estimates],
        color="white" if style.hatch else "0.8",
        edgecolor=style.colour,
        hatch=style.hatch,
        capsize=2.5,
        label=label,
    )
    for x, group in groups.items():
        seeds(axes, x, group.values(metric), "0.3")


def seeds(axes: Axes, x: float, values: Sequence[float], colour: str) -> None:
    """Each replicate as a dot behind the mean: what an interval of few seeds hides."""
    if len(values) > 1:
        axes.plot([x] * len(values), values, ".", color=colour, markersize=3, alpha=0.6, zorder=4)


def percent(axes: Sequence[Axes], label: str = "test accuracy (%)") -> None:
    """The y axis of all panels in percent, once everything is drawn; named on the left only."""
    low, high = axes[0].get_ylim()  # the panels share it
    for panel in axes:
        # Room for the markers of 0 % and 100 %; bars stand on 0 by themselves.
        panel.set_ylim(max(-MARKER_ROOM, low), min(100.0 + MARKER_ROOM, high))
        place = panel.get_subplotspec()
        if place is None or place.is_first_col():
            panel.set_ylabel(label)


def title(axes: Axes, name: str, groups: Sequence[Replicates]) -> None:
    """The panel's name and how many seeds (n) stand behind its points."""
    counts = {len(group.results) for group in groups}
    low, high = min(counts), max(counts)
    seeds = (f"n = {low}" if low == high else f"n = {low} to {high}").replace(" ", "\u00a0")
    axes.set_title(textwrap.fill(f"{name}, {seeds}" if name else seeds, 36))


def ticks_at(axes: Axes, values: Sequence[float]) -> None:
    """A tick at each measured x, written out; logarithmic where the values span a factor of 3.

    Of many values, as of a sampled field, at round numbers instead."""
    distinct = sorted(set(values))
    if distinct[0] > 0 and distinct[-1] / distinct[0] >= 3:
        axes.set_xscale("log")
    if len(distinct) > MOST_TICKS:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        return
    axes.set_xticks(distinct, [f"{value:,g}" for value in distinct])
    axes.minorticks_off()


def logarithmic(axes: Axes) -> None:
    """A logarithmic x axis for counts, with ticks at 1, 2 and 5 times powers of ten; where fewer
    than two of those are in sight the axis stays linear, with its own ticks."""
    low, high = axes.get_xlim()
    formatter = FuncFormatter(lambda value, _: f"{value:,.0f}")
    if low > 0 and high / low < 5:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter(formatter)
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(formatter)
    axes.xaxis.set_minor_formatter(NullFormatter())


def names_below(axes: Axes, names: Sequence[str]) -> float:
    """Categories below groups of bars: without what all share, slanted where they are long, upright
    where they are many. Returns the inches of height that upright ones take (see `make_higher`)."""
    labels = _distinct(names)
    rotation = 0 if sum(map(len, labels)) <= 30 else 20 if len(labels) <= 3 else 90
    axes.set_xticks(range(len(labels)), labels)
    if rotation:
        axes.tick_params(axis="x", rotation=rotation)
        for text in axes.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
            text.set_verticalalignment("center" if rotation == 90 else "top")
    axes.grid(axis="x", visible=False)
    return CHARACTER * max(map(len, labels)) if rotation == 90 else 0.0


def make_higher(figure: Figure, inches: float) -> None:
    """Give what stands below the panels its room, so that they keep theirs."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + inches)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of several parts, as `ResNet-8, lr 0.1`, without the parts that all of them have."""
    parts = [name.split(", ") for name in names]
    shared = set(parts[0]).intersection(*parts[1:]) if len(names) > 1 else set()
    return [", ".join(part for part in name if part not in shared) for name in parts]


def encode(figure: Figure, kind: str) -> bytes:
    """The figure as `png` or `svg`."""
    buffer = io.BytesIO()
    with mpl.rc_context(RC):
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=_NO_DATE[kind])
    return buffer.getvalue()


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write `name`.png and `name`.svg."""
    for kind in ("png", "svg"):
        (folder / f"{name}.{kind}").write_bytes(encode(figure, kind))
