"""`bnsweep compare`. Loads SciPy."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orchestrator.cli import options, screen
from orchestrator.errors import UserError
from orchestrator.reporting import compare as comparing
from orchestrator.reporting.replicates import ACCURACY
from orchestrator.settings import load as load_settings
from orchestrator.store.store import Store
from orchestrator.sweep.problems import nearest
from trainer.spec import TrialSpec

EXAMPLES = (
    "bnsweep compare quickstart:all quickstart:bn_only",
    "bnsweep compare depth width --where depth=14 --where trainable=bn_only",
    "bnsweep compare rates rates-cosine --best",
    "bnsweep compare 1f3c2b4a 9a8b7c6d --metric test/loss",
)


def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="A B",
            help="Two or more sweeps, modes of sweeps (depth:bn_only) or configurations; a trial's "
            "id stands for all its seeds.",
        ),
    ],
    metric: Annotated[str, typer.Option("--metric", help="What to compare.")] = ACCURACY,
    where: Annotated[
        list[str],
        typer.Option(
            "--where",
            metavar="FIELD=VALUE",
            help="Only configurations with this value; may be given several times.",
        ),
    ] = [],  # noqa: B006  # typer copies it
    best: Annotated[
        bool,
        typer.Option(
            "--best",
            help="Of each sweep only the best configuration of each freezing mode, by validation, "
            "mean over seeds.",
        ),
    ] = False,
    on_test_images: options.OnTestImages = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
) -> None:
    """Set sweeps or configurations side by side, paired by seed, with 95 % intervals."""
    if on_test_images and not best:
        raise UserError("--on-test-images: without --best nothing is chosen; allowed: with --best")
    store = Store(load_settings(store_folder).store)
    comparison = comparing.compare(
        store, sides, metric, _wanted(where), best=best, on_test_images=on_test_images
    )
    if as_json:
        screen.write(json.dumps(comparison.to_json(), indent=1) + "\n")
    elif as_csv:
        screen.write(comparison.to_csv())
    else:
        screen.show(*screen.titled_table(comparison.table()))


def _wanted(where: list[str]) -> dict[str, set[str]]:
    """The values of each field that is named. Raises UserError."""
    wanted: dict[str, set[str]] = {}
    for each in where:
        name, equals, value = each.partition("=")
        if not equals or name not in TrialSpec.model_fields:
            hint = nearest(name, list(TrialSpec.model_fields))
            raise UserError(f"--where {each}: found {name}{hint}; allowed: FIELD=VALUE of a trial")
        wanted.setdefault(name, set()).add(value)
    return wanted
