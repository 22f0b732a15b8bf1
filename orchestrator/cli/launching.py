"""The verbs that train: launch and resume."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator import driver, sweep
from orchestrator import plan as planning
from orchestrator import settings as settings_module
from orchestrator.cli import ending, names, options, progress, screen
from orchestrator.cli.options import examples
from orchestrator.cli.planning import MaxGpuHours, MaxMemory, summary
from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.records import Launch
from orchestrator.resources import Resources
from orchestrator.rounds import Order
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.tracking import Tracker
from orchestrator.worker import Job

app = typer.Typer()

ASK_HOURS = 1.0
"""A longer plan is confirmed by the person at the terminal."""

Inline = Annotated[
    bool, typer.Option("--inline", help="Train in this process, without Ray (for debugging).")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only the table at the end.")]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed/--no-retry-failed", help="Run failed trials again.")
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Do not wait for trials that another launch trains.")
]


@app.command(
    "launch",
    epilog=examples(
        "bnsweep launch sweeps/quickstart.yaml",
        "bnsweep launch sweeps/quickstart.yaml --set epochs=1 --set seeds=1 -y",
    ),
)
def launch(
    sweep_file: options.SweepFile,
    overrides: options.Overrides = [],  # noqa: B006  # typer copies it
    inline: Inline = False,
    retry_failed: RetryFailed = True,
    no_wait: NoWait = False,
    max_gpu_hours: MaxGpuHours = None,
    max_memory: MaxMemory = None,
    yes: options.Yes = False,
    quiet: Quiet = False,
    as_json: options.Json = False,
    store: options.Store = None,
    data: options.Data = None,
) -> int:
    """Plan, then run what is missing or unfinished. Running it again continues."""
    spec = sweep.load(sweep_file, overrides)
    settings = settings_module.load(store, data)
    made = planning.make(spec, Store(settings.store))
    planning.check_limits(
        made, max_gpu_hours, None if max_memory is None else round(max_memory * 1e9)
    )
    if not (as_json or quiet):
        for line in summary(made):
            screen.say(line)
    _confirm(made, yes)
    record = driver.new_launch(
        spec.name,
        spec.trials,
        description=spec.description,
        source=spec.source,
        filename=str(sweep_file),
        overrides=overrides,
        axes=spec.axes,
        resources=spec.resources,
        retries=spec.retries,
    )
    order = Order(retry_failed=retry_failed, wait=not no_wait)
    launcher = _launcher(inline, spec.resources, made)
    return _run(record, settings, launcher, order, as_json=as_json, quiet=quiet)


@app.command(
    "resume",
    epilog=examples("bnsweep resume quickstart", "bnsweep resume quickstart --trial 6dcfdff9"),
)
def resume(
    name: options.SweepName,
    trials: options.TrialIds = [],  # noqa: B006  # typer copies it
    inline: Inline = False,
    no_wait: NoWait = False,
    yes: options.Yes = False,
    quiet: Quiet = False,
    as_json: options.Json = False,
    store: options.Store = None,
    data: options.Data = None,
) -> int:
    """Run the failed and unfinished trials of the newest launch, from their checkpoints.

    A trial that is named runs again whatever it failed of.
    """
    settings = settings_module.load(store, data)
    opened = Store(settings.store)
    stored = names.launch_of(opened, name)
    wanted = tuple(names.trial_id(opened, typed) for typed in trials)
    _check_in(stored, wanted)
    made = planning.make(_as_sweep(stored), opened)
    _confirm(made, yes)
    record = stored.model_copy(update={"number": 0, "time_ms": time.time_ns() // 1_000_000})
    launcher = _launcher(inline, made.resources, made)
    return _run(
        record, settings, launcher, Order(wanted, wait=not no_wait), as_json=as_json, quiet=quiet
    )


def _check_in(launch: Launch, wanted: Sequence[str]) -> None:
    known = {spec.trial_id for spec in launch.specs}
    strange = [trial_id for trial_id in wanted if trial_id not in known]
    if strange:
        raise UserError(*(f"trial {t}: is not one of sweep {launch.sweep}" for t in strange))


def _as_sweep(launch: Launch) -> sweep.SweepSpec:
    return sweep.SweepSpec(
        name=launch.sweep,
        description=launch.description,
        trials=launch.specs,
        axes=launch.axes,
        resources=Resources(**launch.resources),
        retries=launch.retries,
        source=launch.source,
    )


def _confirm(made: Plan, yes: bool) -> None:
    """Ask a person before something long; Abort where the answer is no."""
    totals = made.totals
    hours = [totals.gpu_hours, totals.cpu_hours]
    short = all(h is not None and h <= ASK_HOURS for h in hours)
    if yes or not totals.to_run or short or not screen.interactive():
        return
    if not screen.ask(f"start {totals.to_run} trials?"):
        raise typer.Abort


def _launcher(inline: bool, resources: Resources, made: Plan) -> driver.Launcher:
    if inline:
        return driver.InlineLauncher()
    return _LateRay(resources, made.totals.memory_bytes)


class _LateRay:
    """Ray is imported and started only when there is something to run."""

    def __init__(self, resources: Resources, memory_bytes: int) -> None:
        self._resources, self._memory_bytes = resources, memory_bytes
        self._launcher: driver.Launcher | None = None

    def run(self, jobs: Sequence[Job]) -> None:
        if self._launcher is None:
            from orchestrator.launch_ray import RayLauncher  # heavy: loads Ray

            log = Store(Path(jobs[0].store)).launch_log(jobs[0].sweep, jobs[0].launch)
            self._launcher = RayLauncher(self._resources, self._memory_bytes, log)
        self._launcher.run(jobs)

    def close(self) -> None:
        if self._launcher is not None:
            self._launcher.close()


def _run(
    record: Launch,
    settings: Settings,
    launcher: driver.Launcher,
    order: Order,
    *,
    as_json: bool,
    quiet: bool,
) -> int:
    def tracker() -> Tracker:
        from orchestrator import tracking_mlflow  # heavy: loads MLflow

        return tracking_mlflow.connect(settings)

    inline = isinstance(launcher, driver.InlineLauncher)
    with progress.following(
        Store(settings.store), as_json=as_json, quiet=quiet, chatter=inline
    ) as follower:
        outcome = driver.launch(
            record, settings, launcher, order=order, observer=follower, tracker=tracker
        )
    ended: Any = ending.as_json if as_json else ending.show
    ended(record, outcome, settings)
    return outcome.exit_code
