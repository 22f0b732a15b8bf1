"""A report in the tracker: its table above the experiment's runs, its files with one of them, and
the paper's value in the description of each run that has one.

MLflow keeps no files for an experiment, and a run here is a trial and nothing else: so the page
and the figures lie with the run of the first finished trial, and the text leads there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.reporting.published import published
from orchestrator.reporting.sweep_results import SweepResults
from orchestrator.reporting.verdicts import Verdict, judge
from orchestrator.tracking.shown import NOTE, about
from orchestrator.tracking.tracker import TAG_CHARACTERS, TAG_CONFIG, Experiment, Run, Tracker

FOLDER = "report"
CHECK_S = 5.0
PAPER = "**Paper:**"
"""Begins the paragraph of a run's description that is written here; the others are kept."""


def publish(sweep: SweepResults, report: Path, tracker: Tracker, store_id: str) -> str:
    """Send the report in the folder `report`; returns the name of the run that has its files.

    Raises UnreachableError where the tracker is not reached, and UserError where it has none of
    the sweep's finished trials yet.
    """
    tracker.check(CHECK_S)
    experiment = tracker.open(sweep.name)
    runs = list(tracker.runs(experiment, store_id))
    by_trial = {run.trial_id: run for run in reversed(runs)}  # the oldest of several, as in audit
    finished = [by_trial[r.trial_id] for r in sweep.results if r.trial_id in by_trial]
    if not finished:
        raise UserError(
            f"sweep {sweep.name}: the tracker has no finished trial of it yet; "
            f"see: bnsweep sync {sweep.name}"
        )
    run = finished[0]
    for path in sorted(report.iterdir()):
        if path.suffix in (".html", ".png", ".csv"):
            tracker.upload(run.run_id, path, FOLDER)
    tracker.describe(experiment, description(sweep, experiment, run))
    _set_beside_the_paper(judge(published(), sweep.groups), finished, tracker)
    return run.name


def description(sweep: SweepResults, experiment: Experiment, run: Run) -> str:
    """Markdown within MLflow's limit: rows that do not fit are left to the page."""
    table = sweep.accuracy_table()
    page = f"{FOLDER}/index.html"
    link = f"#/experiments/{experiment.id}/runs/{run.run_id}/artifacts/{page}"
    end = f"\n\nThe whole report: [`{page}` among the artifacts of the run {run.name}]({link})."
    rows = [table.columns, ["---"] * len(table.columns), *table.rows]
    lines = [about(sweep.launch), "", table.title, ""]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    if sweep.unfinished:
        lines[1:1] = ["", f"Not complete: {len(sweep.unfinished)} trials have no result."]
    while len("\n".join(lines)) + len(end) > TAG_CHARACTERS:
        lines.pop()
    return "\n".join(lines).strip() + end


def _set_beside_the_paper(
    verdicts: Iterable[Verdict], runs: Iterable[Run], tracker: Tracker
) -> None:
    lines: dict[str, list[str]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.config_id and verdict.ours is not None:
            lines[verdict.config_id].append(beside_the_paper(verdict))
    for run in runs:
        note = run.tags.get(NOTE, "")
        others = [text for text in note.split("\n\n") if text and not text.startswith(PAPER)]
        new = "\n\n".join([*lines.get(run.tags.get(TAG_CONFIG, ""), ()), *others])
        if new not in (note, "") and len(new) <= TAG_CHARACTERS:
            tracker.send(run.run_id, tags={NOTE: new})


def beside_the_paper(verdict: Verdict) -> str:
    """A published accuracy and ours, in a paragraph."""
    row, ours = verdict.published, verdict.ours
    assert ours is not None
    spread = "" if ours.spread is None else f" ± {ours.spread:.1f}"
    seeds = f"{ours.n} seed{'' if ours.n == 1 else 's'}"
    values = (
        f"{row.target} {row.value:g} % ({row.source}), here {ours.mean:.1f}{spread} % ({seeds})"
    )
    trained = f"; trained otherwise: {', '.join(verdict.protocol)}" if verdict.protocol else ""
    return f"{PAPER} {values}: {verdict.outcome}{trained}."
