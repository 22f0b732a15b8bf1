"""What `launch` and `resume` do alike: show the plan, check, ask, run, show how it ended."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator import doctor, extensions, library, streams
from orchestrator.cli import on_finish, outcome_text, plan_text, progress, screen
from orchestrator.errors import UserError, exit_code_of
from orchestrator.extensions import RAY
from orchestrator.launching import data_check
from orchestrator.launching import detach as background
from orchestrator.launching.driver import Outcome
from orchestrator.launching.rounds import Order
from orchestrator.library import Sweep
from orchestrator.planning import described, limits
from orchestrator.planning.plan import Plan
from orchestrator.settings import NOTIFY, Settings, notify_url
from orchestrator.store.store import Store

ASK_HOURS = 1.0
"""A person at the terminal confirms a plan that is longer than this."""


@dataclass(frozen=True)
class RunOptions:
    """The options that launch and resume have in common."""

    arguments: Sequence[str]
    """The command line as it was given: a detached launch runs it again."""
    launcher: str
    tracker: str
    detach: bool
    yes: bool
    quiet: bool
    as_json: bool
    on_finish: str = ""
    """A shell command to run once the launch has ended."""
    notify: str = field(default="", repr=False)
    """The address of `--notify`."""


@streams.outlasting()
def run(sweep: Sweep, plan: Plan, order: Order, settings: Settings, options: RunOptions) -> int:
    """Run what the plan lacks, and show it; returns the exit code.

    Raises UserError before anything starts where the machine lacks what the trials need, and
    typer.Abort where the person at the terminal does not want to start them.
    """
    extensions.find("launcher", options.launcher)
    extensions.find("tracker", options.tracker)
    webhook = notify_url(options.notify) or "off"
    if not (options.as_json or options.quiet):
        for line in plan_text.summary(plan):
            screen.say(line)
    if not background.is_child():  # its parent has checked and asked
        for error in doctor.bad_addresses(settings, options.launcher, options.tracker):
            raise error
        _check_machine(sweep, plan, settings)
        _confirm(plan, options.yes)
        if options.detach:
            return _detach(sweep, settings, options, webhook)
    try:
        outcome = _launch(sweep, order, settings, options, webhook)
    except Exception as error:
        if not isinstance(error, UserError):  # which began nothing
            on_finish.run(options.on_finish, sweep.name, exit_code_of(error), settings.store)
        raise
    show_outcome = outcome_text.show_json if options.as_json else outcome_text.show
    show_outcome(sweep, outcome, settings, options.tracker)
    on_finish.run(options.on_finish, sweep.name, outcome.exit_code, settings.store, outcome.counts)
    return outcome.exit_code


def _launch(
    sweep: Sweep, order: Order, settings: Settings, options: RunOptions, webhook: str
) -> Outcome:
    with progress.following(as_json=options.as_json, quiet=options.quiet) as observer:
        return library.launch(
            sweep,
            store=settings.store,
            data=settings.data,
            launcher=options.launcher,
            tracker=options.tracker,
            order=order,
            observer=observer,
            notify=webhook,
        )


def chosen_launcher(inline: bool, launcher: str) -> str:
    """The launcher that `--inline` and `--launcher` name together. Raises UserError for two."""
    if inline and launcher not in ("", "inline"):
        raise UserError(f"--inline: found --launcher {launcher} too; allowed: one of them")
    return "inline" if inline else launcher or RAY


def check_limits(
    plan: Plan, yes: bool, max_gpu_hours: float | None, max_memory: float | None = None
) -> None:
    """Refuse a plan beyond these limits (UserError); say what cannot be checked."""
    # A launch in the background was asked about before it went there.
    asks = background.is_child() or (screen.interactive() and not yes)
    if doubt := limits.check(plan, max_gpu_hours, max_memory, unknown_passes=asks):
        screen.say(doubt, "yellow")


def _check_machine(sweep: Sweep, plan: Plan, settings: Settings) -> None:
    """Refuse what would fail each trial. On a cluster the launch itself asks each node."""
    if problems := doctor.foreign_packages():
        raise UserError(*problems)
    if not os.environ.get("RAY_ADDRESS") and (
        problems := data_check.problems(plan.to_run, settings.data)
    ):
        raise UserError(*problems)
    if plan.to_run and not os.environ.get("RAY_ADDRESS"):
        described.check_data(sweep.spec, Store(settings.store), settings.data)


def _confirm(plan: Plan, yes: bool) -> None:
    """Ask a person before something long, or before a private file is copied for others to read;
    Abort where the answer is no."""
    totals = plan.totals
    hours = [totals.gpu_hours, totals.cpu_hours]
    short = all(h is not None and h <= ASK_HOURS for h in hours)
    if totals.to_run and not (yes or (short and not plan.private_files)):
        screen.confirm(f"start {totals.to_run} trials?")


def _detach(sweep: Sweep, settings: Settings, options: RunOptions, webhook: str) -> int:
    """Run the same command line in the background; returns once its launch has begun."""
    store = Store(settings.store)
    before = max(store.launch_numbers(sweep.name), default=0)
    log = store.detached_log(sweep.name)
    # The webhook's address is a secret: other users see a command line, no environment.
    arguments = _without(options.arguments, "--notify")
    started = background.start(arguments, log, {NOTIFY: webhook})
    launch = background.wait_for_launch(started, store, sweep.name, before)
    if options.as_json:
        screen.show_json({"sweep": sweep.name, "launch": launch.number, "pid": started.process.pid})
        return 0
    screen.show(
        f"launch {launch.number} of {sweep.name} runs in the background, pid {started.process.pid}"
    )
    screen.say(f"watch it:       bnsweep status {sweep.name} -w")
    screen.say(f"stop it:        bnsweep stop {sweep.name}")
    screen.say(f"its output:     {log}")
    return 0


def _without(arguments: Sequence[str], option: str) -> list[str]:
    """The command line without this option and its value."""
    kept, words = [], iter(arguments)
    for word in words:
        if word == option:
            next(words, None)
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return kept
