"""`bnsweep compare`. Loads SciPy."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orchestrator.cli import options, screen
from orchestrator.reporting import compare as comparing
from orchestrator.reporting.replicates import ACCURACY
from orchestrator.settings import load as load_settings
from orchestrator.store.store import Store

EXAMPLES = ("bnsweep compare quickstart width", "bnsweep compare 1f3c2b4a 9a8b7c6d")


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
    store_folder: options.StoreFolder = None,
) -> None:
    """Set sweeps or configurations side by side, paired by seed, with 95 % intervals."""
    comparison = comparing.compare(Store(load_settings(store_folder).store), sides, metric)
    if as_json:
        screen.write(json.dumps(comparison.to_json(), indent=1) + "\n")
    elif as_csv:
        screen.write(comparison.to_csv())
    else:
        screen.show(*screen.titled_table(comparison.table()))
