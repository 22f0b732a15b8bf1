"""The report's tables as CSV: every number behind the figures, unrounded."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.reporting.figures.training import curve_of
from orchestrator.reporting.published import Published
from orchestrator.reporting.replicates import Replicates, origin
from orchestrator.reporting.statements import CheckedStatement
from orchestrator.reporting.statistics import Estimate
from orchestrator.reporting.sweep_results import SweepResults
from orchestrator.reporting.tables import csv_text, show
from orchestrator.reporting.verdicts import Verdict
from trainer.spec import TrialSpec

NUMBERS = ("mean", "spread", "half_width", "n")
_NAMED = ("config_id", "model", "depth", "width", "mode", "dataset", "code", "data")


def all_tables(
    sweep: SweepResults,
    judged: Sequence[Verdict],
    checked: Sequence[CheckedStatement],
    rows: Sequence[Published],
) -> dict[str, str]:
    """CSV text by name."""
    return {
        "trials": trials(sweep),
        "configurations": configurations(sweep.groups),
        "curves": curves(sweep.groups),
        "classes": classes(sweep),
        "verdicts": verdicts(judged),
        "statements": statements(checked),
        "unmapped": unmapped(rows),
    }


def trials(sweep: SweepResults) -> str:
    """A line for each trial of the sweep, finished or not, with all fields and metrics."""
    results = {result.trial_id: result for result in sweep.results}
    metrics = sorted({name for result in sweep.results for name in result.metrics})
    fields = list(TrialSpec.model_fields)
    lines = []
    for spec, status in zip(sweep.specs, sweep.statuses, strict=True):
        result = results.get(spec.trial_id)
        values = result.metrics if result else {}
        lines.append(
            [spec.trial_id, status.state, status.attempt, status.epoch, status.cause]
            + [show(getattr(spec, name)) for name in fields]
            + (list(origin(result)) if result else ["", ""])
            + [result.seconds if result else None]
            + [values.get(name) for name in metrics]
        )
    head = ["trial_id", "state", "attempt", "epoch", "cause", *fields]
    return csv_text([*head, "code", "data", "seconds", *metrics], lines)


def configurations(groups: Sequence[Replicates]) -> str:
    """A line for each configuration and metric: mean, spread, half of the 95 % interval, n."""
    lines = []
    for group in groups:
        metrics = sorted({name for result in group.results for name in result.metrics})
        for metric in metrics:
            lines.append([*_names(group), metric, *_numbers(group.estimate(metric))])
    return csv_text([*_NAMED, "metric", *NUMBERS], lines)


def curves(groups: Sequence[Replicates]) -> str:
    """A line for each configuration and epoch: the test accuracy."""
    lines = [
        [*_names(group), epoch, *_numbers(accuracy)]
        for group in groups
        for epoch, accuracy in curve_of(group)
    ]
    return csv_text([*_NAMED, "epoch", *NUMBERS], lines)


def classes(sweep: SweepResults) -> str:
    """A line for each configuration, seed and class: accuracy in %, and on how many images."""
    lines = [
        [*_names(probed.group), seed, number, accuracy, images]
        for probed in sweep.probed
        for seed, arrays in probed.by_seed.items()
        if "class_accuracy" in arrays
        for number, (accuracy, images) in enumerate(
            zip(arrays["class_accuracy"].tolist(), arrays["class_images"].tolist(), strict=True)
        )
    ]
    return csv_text([*_NAMED, "seed", "class", "accuracy", "images"], lines)


def verdicts(judged: Sequence[Verdict]) -> str:
    """A line for each published cell and configuration of ours that it is for."""
    lines = []
    for verdict in judged:
        row = verdict.published
        theirs = [*_published(row), row.value, row.precision, row.source]
        ours = [verdict.outcome, *_numbers(verdict.ours), verdict.difference, verdict.margin]
        how = ["; ".join(verdict.protocol), verdict.config_id, verdict.flag]
        others = "; ".join(
            f"{row.value:g} ± {row.precision:g} ({row.source})" for row in verdict.others
        )
        lines.append([*theirs, *ours, *how, verdict.half_width, verdict.seeds_to_decide, others])
    head = ["dataset", "architecture", "depth", "width", "mode", "metric", "published"]
    head += ["precision", "source", "verdict", *NUMBERS, "difference", "margin", "protocol"]
    head += ["config_id", "flag", "difference_half_width", "seeds_to_decide", "other_sources"]
    return csv_text(head, lines)


def statements(checked: Sequence[CheckedStatement]) -> str:
    """A line for each statement and step."""
    lines = [
        [statement.text, statement.outcome, evidence, "; ".join(statement.protocol)]
        for statement in checked
        for evidence in statement.evidence or ("",)
    ]
    return csv_text(["statement", "outcome", "evidence", "protocol"], lines)


def unmapped(rows: Sequence[Published]) -> str:
    """The rows of the reference that no result of ours can be held against, and why."""
    lines = [
        [*_published(row), row.value, row.source, row.target]
        for row in rows
        if row.kind == "unmapped"
    ]
    head = ["dataset", "architecture", "depth", "width", "mode", "metric", "value"]
    return csv_text([*head, "source", "reason"], lines)


def _published(row: Published) -> list[object]:
    return [row.dataset, row.architecture, row.depth, row.width, row.mode, row.metric]


def _names(group: Replicates) -> list[object]:
    spec, (code, data) = group.spec, origin(group.results[0])
    return [
        group.config_id, spec.model, spec.depth, spec.width, spec.mode, spec.dataset, code, data,
    ]  # fmt: skip


def _numbers(estimate: Estimate | None) -> list[object]:
    return [getattr(estimate, name) for name in NUMBERS] if estimate else [None] * len(NUMBERS)
