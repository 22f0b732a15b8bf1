"""Figures of what training did inside: γ and β, disabled features, dead ReLUs, feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from orchestrator.reporting.figures import drawing
from orchestrator.reporting.figures.panels import (
    SEEDS,
    CaptionedFigure,
    first,
    left_out,
    split_into_panels,
)
from orchestrator.reporting.probe_results import ProbedConfiguration
from orchestrator.reporting.replicates import Replicates
from orchestrator.reporting.statements import BELOW
from orchestrator.reporting.statistics import estimate
from trainer.modes import trains_batch_norm

UNITS_OFF = "trained/relu_units_off"


Panels = dict[str, list[ProbedConfiguration]]


def probe_figures(probed: Sequence[ProbedConfiguration]) -> list[CaptionedFigure]:
    """Every figure for which the networks were probed."""
    panels = _panels(probed)
    figures = [
        histograms(panels, "gamma", "γ"),
        histograms(panels, "beta", "β"),
        shares([each.group for each in probed]),
        pruning(panels),
        feature_maps(panels),
    ]
    return [figure for figure in figures if figure is not None]


def _panels(probed: Sequence[ProbedConfiguration]) -> Panels:
    """The modes of each panel, in order."""
    by_group = {id(each.group): each for each in probed}
    panels = split_into_panels([each.group for each in probed])
    return {name: [by_group[id(m)] for m in _ordered(members)] for name, members in panels.items()}


def _ordered(members: Sequence[Replicates]) -> list[Replicates]:
    order = drawing.modes(members)
    return sorted(members, key=lambda member: order.index(member.spec.mode))


def histograms(panels: Panels, name: str, symbol: str) -> CaptionedFigure | None:
    """Density of γ or β over all layers, the replicates' together, a line a mode."""
    panels = {key: _trained(kept) for key, kept in _with(panels, name).items()}
    if not panels:
        return None
    drawn = first(panels)
    figure, axes = drawing.panels(len(drawn))
    for panel, (title, members) in zip(axes, drawn.items(), strict=True):
        for probed in members:
            _density(panel, probed, name)
        if name == "gamma":
            _initial(panel, members[0].group.spec.bn_init)
        panel.set_yscale("log")
        drawing.title(panel, title, [probed.group for probed in members])
        panel.set_xlabel(f"{symbol} (all layers)")
    axes[0].set_ylabel("density (log scale)")
    drawing.legend(figure, axes)
    text = (
        f"Distribution of {symbol} after training, all layers and seeds together, "
        f"in the modes that train BatchNorm.{left_out(panels)}"
    )
    return CaptionedFigure(f"{name}_histogram", text, figure)


def _trained(members: list[ProbedConfiguration]) -> list[ProbedConfiguration]:
    """Those whose γ and β are not all as they began; all, where there are no such."""
    trained = [each for each in members if trains_batch_norm(each.group.spec.trainable)]
    return trained or members


def _density(panel: Axes, probed: ProbedConfiguration, name: str) -> None:
    values = np.concatenate(probed.all(name))
    style = drawing.look(probed.group.spec.mode)
    low, high = np.floor(values.min() * 10) / 10, np.ceil(values.max() * 10) / 10
    edges = np.arange(low, high + 0.15, 0.05)
    counts, _ = np.histogram(values, edges)
    density = counts / (counts.sum() * 0.05)
    centres = (edges[:-1] + edges[1:]) / 2
    drawn = density > 0
    panel.plot(
        centres[drawn],
        density[drawn],
        color=style.colour,
        linestyle=style.line,
        marker=style.marker,
        markevery=max(1, int(drawn.sum()) // 8),
        markersize=3.5,
        linewidth=1.1,
        label=probed.group.spec.mode,
    )


def _initial(panel: Axes, bn_init: str) -> None:
    span = {"uniform": (0, 1), "positivenegative": (-1, 1)}.get(bn_init)
    if span:
        height = 1 / (span[1] - span[0])
        panel.plot(span, [height, height], color="0.6", linewidth=3, alpha=0.5, label="initial")


def _with(panels: Panels, name: str) -> Panels:
    """The panels with only those configurations that have the array, where any has."""
    kept = {key: [each for each in members if each.all(name)] for key, members in panels.items()}
    return {key: members for key, members in kept.items() if members}


def shares(groups: Sequence[Replicates]) -> CaptionedFigure | None:
    """Disabled features and dead ReLUs by network and mode."""
    titles = {BELOW: "share of |γ| < 0.01 (%)", UNITS_OFF: "share of dead ReLUs (%)"}
    groups = [group for group in groups if any(group.values(metric) for metric in titles)]
    if not groups:
        return None
    figure, axes = drawing.panels(len(titles), columns=2, share_y=False)
    panels = split_into_panels(groups)
    networks = first(panels)
    labels = drawing.modes(groups)
    for panel, (metric, title) in zip(axes, titles.items(), strict=True):
        for position, label in enumerate(labels):
            offset = (position - (len(labels) - 1) / 2) * 0.84 / len(labels)
            bars = {
                place + offset: member
                for place, members in enumerate(networks.values())
                for member in members
                if member.spec.mode == label
            }
            drawing.bars(panel, label, bars, 0.84 / len(labels), metric)
        names_height = drawing.names_below(panel, list(networks))
        panel.set_ylim(0, min(100.0, panel.get_ylim()[1]))
        panel.set_ylabel(title)
    drawing.make_higher(figure, names_height)
    drawing.legend(figure, axes)
    text = (
        "Disabled features (left), and ReLUs that are off on more than 99 % of the inputs (right)"
    )
    return CaptionedFigure(
        "disabled_features", f"{text}. {SEEDS}{left_out(panels, 'networks')}", figure
    )


def pruning(panels: Panels) -> CaptionedFigure | None:
    """Accuracy after setting γ below a threshold to zero; the level is the accuracy before."""
    panels = _with(panels, "pruned_accuracy")
    if not panels:
        return None
    drawn = first(panels)
    figure, axes = drawing.panels(len(drawn))
    for panel, (title, members) in zip(axes, drawn.items(), strict=True):
        for position, probed in enumerate(members):
            _pruning_line(panel, probed, 1.05 ** (position - (len(members) - 1) / 2))
        panel.set_xscale("log")
        drawing.title(panel, title, [probed.group for probed in members])
        panel.set_xlabel("threshold on |γ|")
    drawing.percent(axes)
    drawing.legend(figure, axes)
    text = (
        "Test accuracy after setting γ to zero where |γ| is below a threshold, without retraining"
    )
    return CaptionedFigure(
        "pruning", f"{text}. {SEEDS} {_images(panels)}{left_out(panels)}", figure
    )


def _pruning_line(panel: Axes, probed: ProbedConfiguration, aside: float) -> None:
    """`aside`: a factor that moves the points of one mode beside those of another."""
    style = drawing.look(probed.group.spec.mode)
    places = (probed.all("prune_thresholds")[0] * aside).tolist()
    columns = np.stack(probed.all("pruned_accuracy")).T.tolist()
    by_place = list(zip(places, columns, strict=True))
    points = [(place, share) for place, column in by_place if (share := estimate(column))]
    drawing.line_through(panel, points, style, probed.group.spec.mode)
    for place, column in by_place:
        drawing.seeds(panel, place, column, style.colour)


def _images(panels: Panels) -> str:
    """On how many test images the probes measured."""
    members = [probed for configurations in panels.values() for probed in configurations]
    counts = {int(count) for probed in members for count in probed.all("images")}
    whole = {int(count) for probed in members for count in probed.all("of_images")}
    if counts == whole:
        return "All test images."
    low, high = min(counts), max(counts)
    number = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"Measured on {number} of {max(whole):,} test images."


def feature_maps(panels: Panels) -> CaptionedFigure | None:
    """One test image in an early and a late convolution of a network, by mode."""
    name, members = max(
        _with(panels, "features_late").items(),
        key=lambda item: len(item[1]),
        default=("", []),
    )
    if not members:
        return None
    figure, axes = drawing.panels(len(members) * 2, columns=2, height=1.15, share_y=False)
    for row, probed in enumerate(members):
        for column, place in enumerate(("early", "late")):
            panel = axes[2 * row + column]
            maps = probed.all(f"features_{place}")[0][0].astype(np.float32)
            panel.imshow(_mosaic(maps), cmap="gray", interpolation="nearest", aspect="equal")
            panel.set_axis_off()
            panel.set_title(f"{probed.group.spec.mode}, {place} convolution")
    text = "Feature maps of one test image in the first and the last spatial convolution"
    return CaptionedFigure(
        "feature_maps", f"{text} ({name}, first seed); each scaled to full contrast.", figure
    )


def _mosaic(maps: NDArray[Any], across: int = 8) -> NDArray[Any]:
    """[channels, h, w] side by side in rows of `across`, each scaled to 0..1, white between."""
    low = maps.min((1, 2), keepdims=True)
    span = maps.max((1, 2), keepdims=True) - low
    scaled = (maps - low) / np.where(span > 0, span, 1)
    edge = max(1, maps.shape[1] // 16)
    tiles = np.pad(scaled, ((0, 0), (edge, edge), (edge, edge)), constant_values=1)
    missing = -len(tiles) % across
    tiles = np.concatenate([tiles, np.ones((missing, *tiles.shape[1:]))])
    rows = [
        np.concatenate(list(row), axis=1) for row in tiles.reshape(-1, across, *tiles.shape[1:])
    ]
    return np.concatenate(rows)
