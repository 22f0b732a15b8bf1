"""`bnsweep launch`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options
from orchestrator.cli.run_sweep import RunOptions, check_limits, chosen_launcher, run
from orchestrator.extensions import MLFLOW
from orchestrator.launching.rounds import Order
from orchestrator.library import Sweep
from orchestrator.settings import load as load_settings

EXAMPLES = (
    "bnsweep launch sweeps/quickstart.yaml",
    "bnsweep launch sweeps/quickstart.yaml --set epochs=1 --set seeds=1 -y",
)

RetryFailed = Annotated[
    bool, typer.Option("--retry-failed/--no-retry-failed", help="Run failed trials again.")
]


def launch(
    context: typer.Context,
    sweep_file: options.SweepFile,
    overrides: options.Overrides = [],  # noqa: B006  # typer copies it
    inline: options.Inline = False,
    launcher: options.Launcher = "",
    tracker: options.Tracker = "",
    detach: options.Detach = False,
    retry_failed: RetryFailed = True,
    no_wait: options.NoWait = False,
    wait: options.Wait = "",
    max_gpu_hours: options.MaxGpuHours = None,
    max_memory: options.MaxMemory = None,
    on_finish: options.OnFinish = "",
    notify: options.Notify = "",
    yes: options.Yes = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
    data_folder: options.DataFolder = None,
) -> int:
    """Plan, then run what is missing or unfinished. Running it again continues."""
    waiting = [f"resources.wait={wait}"] if wait else []
    sweep = Sweep.load(sweep_file, *overrides, *waiting, data=data_folder)
    plan = sweep.plan(store_folder)
    check_limits(plan, yes, max_gpu_hours, max_memory)
    order = Order(retry_failed=retry_failed, wait=not no_wait, max_gpu_hours=max_gpu_hours)
    chosen = RunOptions(
        context.obj,
        chosen_launcher(inline, launcher),
        tracker or MLFLOW,
        detach,
        yes,
        quiet,
        as_json,
        on_finish,
        notify,
    )
    return run(sweep, plan, order, load_settings(store_folder, data_folder), chosen)
