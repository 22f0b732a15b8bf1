"""The figures of accuracy: those for which the sweep has the axes."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.reporting.figures.bars import by_category
from orchestrator.reporting.figures.lines import against_axis, against_count, against_k, x_on_axis
from orchestrator.reporting.figures.panels import CaptionedFigure
from orchestrator.reporting.figures.training import over_training
from orchestrator.reporting.published import Published
from orchestrator.reporting.replicates import Replicates, varied
from trainer.spec import TrialSpec


def accuracy_figures(
    groups: Sequence[Replicates], rows: Sequence[Published]
) -> list[CaptionedFigure]:
    """Accuracy against each axis and parameter count, by category, and over training."""
    if not groups:
        return []
    specs = [group.spec for group in groups]
    axes = varied(specs)
    figures = [against_axis(groups, axis, rows) for axis in axes if _numeric(specs, axis)]
    if {"depth", "width"} & set(axes):
        figures += [against_count(groups, field, rows) for field in ("bn", "total")]
    if len({spec.k for spec in specs if spec.k}) > 1:
        figures.append(against_k(groups))
    others = [axis for axis in axes if not _numeric(specs, axis) and axis != "trainable"]
    figures += [by_category(groups, axis) for axis in others]
    if axes in ([], ["trainable"]):
        figures.append(by_category(groups, "trainable", rows))
    figures.append(over_training(groups, rows))
    return [figure for figure in figures if figure is not None]


def _numeric(specs: Sequence[TrialSpec], axis: str) -> bool:
    return all(x_on_axis(spec, axis) is not None for spec in specs)
