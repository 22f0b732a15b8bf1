"""A report in the tracker: its table above the experiment's runs, its files with one of them.

MLflow keeps no files for an experiment, and a run here is a trial and nothing else: so the page
and the figures lie with the run of the first finished trial, and the text says so.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.reporting.sweep_results import SweepResults
from orchestrator.tracking.tracker import TAG_CHARACTERS, Tracker

FOLDER = "report"
CHECK_S = 5.0


def publish(sweep: SweepResults, report: Path, tracker: Tracker, store_id: str) -> str:
    """Send the report in the folder `report`; returns the name of the run that has its files.

    Raises UnreachableError where the tracker is not reached, and UserError where it has none of
    the sweep's finished trials yet.
    """
    tracker.check(CHECK_S)
    experiment = tracker.open(sweep.name)
    runs = list(tracker.runs(experiment, store_id))
    by_trial = {run.trial_id: run for run in reversed(runs)}  # the oldest of several, as in audit
    run = next((by_trial[r.trial_id] for r in sweep.results if r.trial_id in by_trial), None)
    if run is None:
        raise UserError(
            f"sweep {sweep.name}: the tracker has no finished trial of it yet; "
            f"see: bnsweep sync {sweep.name}"
        )
    for path in sorted(report.iterdir()):
        if path.suffix in (".html", ".png", ".csv"):
            tracker.upload(run.run_id, path, FOLDER)
    tracker.describe(experiment, description(sweep, run.name))
    return run.name


def description(sweep: SweepResults, run_name: str) -> str:
    """Markdown within MLflow's limit: rows that do not fit are left to the page."""
    table = sweep.accuracy_table()
    end = f"\n\nThe whole report: `{FOLDER}/index.html` among the artifacts of the run {run_name}."
    rows = [table.columns, ["---"] * len(table.columns), *table.rows]
    lines = [sweep.launch.sweep.description, "", table.title, ""]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    if sweep.unfinished:
        lines.insert(1, f"Not complete: {len(sweep.unfinished)} trials have no result.")
    while len("\n".join(lines)) + len(end) > TAG_CHARACTERS:
        lines.pop()
    return "\n".join(lines).strip() + end
