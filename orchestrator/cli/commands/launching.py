"""The verbs that train: launch and resume."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from orchestrator import doctor, library, settings
from orchestrator.cli import lookup, options, outcome_text, progress, screen
from orchestrator.cli.commands.planning import MaxGpuHours, MaxMemory, summary
from orchestrator.cli.options import examples
from orchestrator.errors import UserError
from orchestrator.launching import data_check
from orchestrator.launching import detach as background
from orchestrator.launching.rounds import Order
from orchestrator.library import Sweep
from orchestrator.planning import limits
from orchestrator.planning.plan import Plan
from orchestrator.settings import Settings
from orchestrator.store.records import Launch
from orchestrator.store.store import Store

app = typer.Typer(rich_markup_mode=None)

ASK_HOURS = 1.0
"""A longer plan is confirmed by the person at the terminal."""

Inline = Annotated[
    bool, typer.Option("--inline", help="Train in this process, without Ray (for debugging).")
]
Detach = Annotated[
    bool, typer.Option("-d", "--detach", help="Go on in the background when it has begun.")
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
    context: typer.Context,
    sweep_file: options.SweepFile,
    overrides: options.Overrides = [],  # noqa: B006  # typer copies it
    inline: Inline = False,
    detach: Detach = False,
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
    swept = Sweep.load(sweep_file, *overrides)
    made = swept.plan(store)
    limits.check(made, max_gpu_hours, None if max_memory is None else round(max_memory * 1e9))
    order = Order(retry_failed=retry_failed, wait=not no_wait)
    shown = _Shown(
        as_json=as_json, quiet=quiet, inline=inline, detach=detach, arguments=context.obj
    )
    return _run(swept, made, settings.load(store, data), order, yes, shown)


@app.command(
    "resume",
    epilog=examples("bnsweep resume quickstart", "bnsweep resume quickstart --trial 6dcfdff9"),
)
def resume(
    context: typer.Context,
    name: options.SweepName,
    trials: options.TrialIds = [],  # noqa: B006  # typer copies it
    inline: Inline = False,
    detach: Detach = False,
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
    where = settings.load(store, data)
    opened = Store(where.store)
    stored = lookup.launch_of(opened, name)
    wanted = tuple(lookup.trial_id(opened, typed) for typed in trials)
    _check_in(stored, wanted)
    swept = Sweep.stored(stored)
    shown = _Shown(
        as_json=as_json, quiet=quiet, inline=inline, detach=detach, arguments=context.obj
    )
    return _run(swept, swept.plan(store), where, Order(wanted, wait=not no_wait), yes, shown)


@dataclass(frozen=True)
class _Shown:
    """How a launch is followed."""

    as_json: bool
    quiet: bool
    inline: bool
    detach: bool
    arguments: Sequence[str]
    """The command line as it was given."""


def _check_in(launch: Launch, wanted: Sequence[str]) -> None:
    known = {spec.trial_id for spec in launch.specs}
    strange = [trial_id for trial_id in wanted if trial_id not in known]
    if strange:
        raise UserError(*(f"trial {t}: is not one of sweep {launch.sweep}" for t in strange))


def _check_machine(made: Plan, where: Settings) -> None:
    """Refuse what would fail each trial. On a cluster each node is asked by the launch itself."""
    if found := doctor.foreign_packages():
        raise UserError(*found)
    if not os.environ.get("RAY_ADDRESS") and (
        found := data_check.problems(made.to_run, where.data)
    ):
        raise UserError(*found)


def _go_on_in_the_background(swept: Sweep, where: Settings, shown: _Shown) -> int:
    store = Store(where.store)
    before = max(store.launch_numbers(swept.name), default=0)
    log = store.detached_log(swept.name)
    process = background.start(shown.arguments, log)
    launch = background.wait_for_launch(process, store, swept.name, before, log)
    if shown.as_json:
        screen.show_json({"sweep": swept.name, "launch": launch.number, "pid": process.pid})
        return 0
    screen.show(f"launch {launch.number} of {swept.name} runs in the background, pid {process.pid}")
    screen.say(f"watch it:       bnsweep status {swept.name} -w")
    screen.say(f"stop it:        bnsweep stop {swept.name}")
    screen.say(f"what it says:   {log}")
    return 0


def _confirm(made: Plan, yes: bool) -> None:
    """Ask a person before something long; Abort where the answer is no."""
    totals = made.totals
    hours = [totals.gpu_hours, totals.cpu_hours]
    short = all(h is not None and h <= ASK_HOURS for h in hours)
    if totals.to_run and not (yes or short):
        screen.confirm(f"start {totals.to_run} trials?")


def _run(swept: Sweep, made: Plan, where: Settings, order: Order, yes: bool, shown: _Shown) -> int:
    if not (shown.as_json or shown.quiet):
        for line in summary(made):
            screen.say(line)
    if not background.is_child():  # there all was checked before
        _check_machine(made, where)
        _confirm(made, yes)
        if shown.detach:
            return _go_on_in_the_background(swept, where, shown)
    with progress.following(
        Store(where.store), as_json=shown.as_json, quiet=shown.quiet, chatter=shown.inline
    ) as follower:
        outcome = library.launch(
            swept,
            store=where.store,
            data=where.data,
            inline=shown.inline,
            order=order,
            observer=follower,
        )
    if shown.as_json:
        outcome_text.as_json(swept, outcome, where)
    else:
        outcome_text.show(swept, outcome, where)
    return outcome.exit_code
