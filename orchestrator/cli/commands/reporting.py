"""The verbs about results: report and compare. They load SciPy and Matplotlib, and only they do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import settings
from orchestrator.cli import lookup, options, screen
from orchestrator.cli.options import examples
from orchestrator.cli.outcome_text import rendered
from orchestrator.errors import BnsweepError
from orchestrator.library import connect
from orchestrator.reporting import report as pages
from orchestrator.reporting.compare import compare as set_side_by_side
from orchestrator.reporting.replicates import ACCURACY
from orchestrator.reporting.to_mlflow import FOLDER, publish
from orchestrator.settings import Settings
from orchestrator.store.store import Store

app = typer.Typer(rich_markup_mode=None)

Out = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="DIR", help="Where to write the report.")
]


@app.command(
    "report",
    epilog=examples("bnsweep report quickstart", "bnsweep report quickstart --out report"),
)
def report(
    name: options.SweepName,
    out: Out = None,
    mlflow: Annotated[bool, typer.Option(help="Also put it into MLflow.")] = True,
    as_json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Draw a sweep's figures and tables, the paper's numbers beside them, into one page."""
    where = settings.load(store)
    opened = Store(where.store)
    lookup.launch_of(opened, name)
    index = pages.build(opened, name, out)
    run = _publish(opened, where, name, index.parent) if mlflow else ""
    if as_json:
        screen.show_json({"sweep": name, "index": str(index), "mlflow_run": run})
        return
    launch = lookup.launch_of(opened, name)
    statuses = [opened.state(spec) for spec in launch.specs]
    found = [opened.result(s.trial_id) for s in statuses if s.state == "finished"]
    results = [result for result in found if result is not None]
    screen.show(*rendered(pages.table(launch.specs, results, statuses)), "")
    screen.show(f"figures and tables: {index}")
    if run:
        screen.say(f"in MLflow: {FOLDER}/ among the artifacts of {run}", "dim")


def _publish(opened: Store, where: Settings, name: str, folder: Path) -> str:
    """The MLflow run that has the report now. A tracker that is away costs no report."""
    if where.embedded_tracker and not (where.store / "mlflow.db").exists():
        return ""  # nothing was ever sent: do not make a database for this
    try:
        return publish(opened, name, folder, connect(where))
    except BnsweepError as error:
        screen.say(f"not in MLflow: {error.lines[0]}", "yellow")
        return ""


@app.command(
    "compare",
    epilog=examples(
        "bnsweep compare quickstart width",
        "bnsweep compare 1f3c2b4a 9a8b7c6d",
    ),
)
def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="A B",
            help="Two or more sweeps or configurations; a trial's id stands for all its seeds.",
        ),
    ],
    metric: Annotated[str, typer.Option("--metric", help="What to compare.")] = ACCURACY,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Set sweeps or configurations side by side, paired by seed, with 95 % intervals."""
    made = set_side_by_side(Store(settings.load(store).store), sides, metric)
    if as_json:
        screen.write(json.dumps(made.to_json(), indent=1) + "\n")
    elif as_csv:
        screen.write(made.to_csv())
    else:
        screen.show(*rendered(made.table()))
