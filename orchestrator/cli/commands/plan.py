"""`bnsweep plan`. Imports neither torch nor Ray nor MLflow."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator import doctor
from orchestrator.cli import options, plan_text, screen
from orchestrator.cli.verbs import as_called
from orchestrator.launching import data_check
from orchestrator.planning import limits, power
from orchestrator.planning import plan as planning
from orchestrator.settings import load as load_settings
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec

EXAMPLES = (
    "bnsweep plan sweeps/quickstart.yaml",
    "bnsweep plan sweeps/quickstart.yaml --set depth=14,32 --json",
    "bnsweep plan sweeps/depth.yaml --power 0.5",
)


def plan(
    sweep_file: options.SweepFile,
    overrides: options.Overrides = [],  # noqa: B006  # typer copies it
    max_gpu_hours: options.MaxGpuHours = None,
    max_memory: options.MaxMemory = None,
    points: Annotated[
        float | None,
        typer.Option(
            "--power",
            min=0.001,
            max=100.0,
            metavar="POINTS",
            help="Also say how many seeds decide a difference of so many points of test accuracy.",
        ),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="A line for each trial.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a line a trial.")] = False,
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
    data_folder: options.DataFolder = None,
) -> None:
    """Show what launch would do: each trial, its state, parameters, FLOPs, memory and time.

    Starts nothing and writes nothing.
    """
    sweep = sweep_spec.load(sweep_file, overrides, data=data_folder)
    settings = load_settings(store_folder, data_folder)
    store = Store(settings.store)
    planned = planning.make(sweep, store)
    doubt = limits.check(planned, max_gpu_hours, max_memory, unknown_passes=True)
    cost = power.power(planned, store, points) if points else None
    if as_json:
        content = planned.to_json()
        if points:
            content["power"] = cost.to_json() if cost else None
        screen.show_json(content)
    elif as_csv:
        screen.write(planned.to_csv())
    else:
        table = plan_text.trial_table if each else plan_text.configuration_table
        images = data_check.found((row.spec for row in planned.rows), settings.data)
        screen.show(table(planned), "", *map(as_called, [*plan_text.summary(planned), *images]))
        if points:
            screen.show(plan_text.power(points, cost))
    if doubt:
        screen.say(doubt, "yellow")
    for error in doctor.bad_addresses(settings):
        screen.say(f"a launch would be refused: {error}", "yellow")
