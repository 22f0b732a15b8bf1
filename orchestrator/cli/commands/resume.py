"""`bnsweep resume`."""

from __future__ import annotations

from dataclasses import replace

import typer

from orchestrator.cli import options, screen
from orchestrator.cli.run_sweep import RunOptions, check_limits, chosen_launcher, run
from orchestrator.errors import UserError
from orchestrator.extensions import MLFLOW
from orchestrator.launching.rounds import Order
from orchestrator.library import Sweep
from orchestrator.settings import load as load_settings
from orchestrator.store import lookup
from orchestrator.store.store import Store

EXAMPLES = ("bnsweep resume quickstart", "bnsweep resume quickstart --trial 6dcfdff9")


def resume(
    context: typer.Context,
    name: options.SweepName,
    trials: options.TrialIds = [],  # noqa: B006  # typer copies it
    inline: options.Inline = False,
    launcher: options.Launcher = "",
    tracker: options.Tracker = "",
    detach: options.Detach = False,
    no_wait: options.NoWait = False,
    max_gpu_hours: options.MaxGpuHours = None,
    on_finish: options.OnFinish = "",
    notify: options.Notify = "",
    yes: options.Yes = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
    data_folder: options.DataFolder = None,
) -> int:
    """Run the failed and unfinished trials of the newest launch, from their checkpoints.

    A trial that is named runs again whatever it failed of. Data sets are where they were at the
    launch, and what was answered then is not asked again.
    """
    store = Store(load_settings(store_folder).store)
    launch = lookup.launch_of(store, name)
    settings = load_settings(store.root, data_folder, default_data=lookup.data_of(launch))
    trial_ids = tuple(lookup.trial_id(store, typed) for typed in trials)
    known = {spec.trial_id for spec in launch.specs}
    if strangers := [trial_id for trial_id in trial_ids if trial_id not in known]:
        raise UserError(*(f"trial {t}: is not one of sweep {name}" for t in strangers))
    sweep = Sweep(launch.sweep)
    if (code := sweep.spec.code) and not (quiet or as_json):
        screen.say(f"code: {code.path.name}, sha256 {code.sha256}, as the store has it")
    plan = sweep.plan(store_folder)
    wanted = tuple(r for r in plan.rows if not trial_ids or r.trial_id in trial_ids)
    check_limits(replace(plan, rows=wanted), yes, max_gpu_hours)
    order = Order(trial_ids, wait=not no_wait, max_gpu_hours=max_gpu_hours)
    chosen = RunOptions(
        context.obj,
        chosen_launcher(inline, launcher),
        tracker or MLFLOW,
        detach,
        yes or max_gpu_hours is None,  # the launch was asked about; a new limit was not
        quiet,
        as_json,
        on_finish,
        notify,
    )
    return run(sweep, plan, order, settings, chosen)
