"""`bnsweep report`. Loads SciPy and Matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import options, screen
from orchestrator.errors import BnsweepError
from orchestrator.library import connect_to_write
from orchestrator.reporting import sweep_results, to_mlflow
from orchestrator.reporting.report import build
from orchestrator.reporting.sweep_results import SweepResults
from orchestrator.settings import Settings
from orchestrator.settings import load as load_settings
from orchestrator.store.store import Store

EXAMPLES = ("bnsweep report quickstart", "bnsweep report quickstart --out report")


def report(
    name: options.SweepName,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Where to write the report.")
    ] = None,
    mlflow: Annotated[bool, typer.Option(help="Also put it into MLflow.")] = True,
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
) -> None:
    """Draw a sweep's figures and tables, the paper's numbers beside them, into one page."""
    settings = load_settings(store_folder)
    store = Store(settings.store)
    results = sweep_results.read(store, name)
    index = build(results, out or store.sweep_folder(name) / "report")
    run_name = _publish(results, store, settings, index.parent) if mlflow else ""
    if as_json:
        screen.show_json({"sweep": name, "index": str(index), "mlflow_run": run_name})
        return
    screen.show(*screen.titled_table(results.accuracy_table()), "")
    screen.show(f"figures and tables: {index}")
    if run_name:
        screen.say(f"in MLflow: {to_mlflow.FOLDER}/ among the artifacts of {run_name}", "dim")


def _publish(results: SweepResults, store: Store, settings: Settings, folder: Path) -> str:
    """Send the report to the tracker; returns the name of the MLflow run that has it.

    A tracker that cannot be reached costs a line, not the report.
    """
    if settings.embedded_tracker and not (settings.store / "mlflow.db").exists():
        return ""  # nothing was ever sent: do not make a database for this
    try:
        return to_mlflow.publish(results, folder, connect_to_write(settings), store.identity)
    except BnsweepError as error:
        screen.say(f"not in MLflow: {error.lines[0]}", "yellow")
        return ""
