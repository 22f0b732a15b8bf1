"""What a launch says at its end: the table, what failed and why, where to look, what to type."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from typing import Any

from rich.text import Text

from orchestrator.cli import screen
from orchestrator.cli.verbs import as_called
from orchestrator.errors import BnsweepError
from orchestrator.extensions import MLFLOW
from orchestrator.launching.board import clock
from orchestrator.launching.driver import Outcome
from orchestrator.library import Sweep, connect
from orchestrator.settings import Settings
from orchestrator.store.store import Store
from orchestrator.sweep.labels import labels


def show(sweep: Sweep, outcome: Outcome, settings: Settings, tracker: str = MLFLOW) -> None:
    """Print the end of a launch for a person: results to stdout, advice to stderr.

    `tracker`: the name of the one that received the metrics.
    """
    screen.show("", *result_table(sweep, outcome, Store(settings.store)), "")
    took = f" in {clock(outcome.seconds)}"
    screen.show(Text.assemble((f"{sweep.name}: ", "bold"), screen.counts(outcome.counts), took))
    for line in failures(sweep, outcome):
        screen.say(line, "red")
    for line in next_commands(sweep, outcome, charts(sweep, outcome, settings, tracker), tracker):
        screen.say(line)


def show_json(sweep: Sweep, outcome: Outcome, settings: Settings, tracker: str = MLFLOW) -> None:
    """The last event of `launch --json`."""
    event = {
        "event": "ended",
        "sweep": sweep.name,
        "launch": outcome.launch,
        "counts": outcome.counts,
        "exit_code": outcome.exit_code,
        "stop_cause": outcome.stop_cause,
        "seconds": outcome.seconds,
        "untracked_trials": outcome.backlog.trials,
        "curves": as_called(charts(sweep, outcome, settings, tracker)),
        "store": str(settings.store),
    }
    screen.write(json.dumps(event) + "\n")


def result_table(sweep: Sweep, outcome: Outcome, store: Store) -> list[Any]:
    """Accuracy by configuration, with its notes."""
    from orchestrator.reporting import tables  # loads SciPy, which takes a second

    finished = [s.trial_id for s in outcome.statuses if s.state == "finished"]
    results = [result for trial_id in finished if (result := store.result(trial_id))]
    return screen.titled_table(tables.accuracy_table(sweep.trials, results, outcome.statuses))


def failures(sweep: Sweep, outcome: Outcome) -> list[str]:
    """Each cause once, with the trials that failed of it and how to see more."""
    short = labels(sweep.trials)
    by_cause: dict[str, list[str]] = defaultdict(list)
    for status in outcome.statuses:
        if status.state == "failed":
            by_cause[status.cause].append(status.trial_id)
    lines = []
    for cause, trials in by_cause.items():
        who = short[trials[0]] if len(trials) == 1 else f"{len(trials)} trials"
        lines.append(f"failed: {who}: {cause}\n  see: bnsweep logs {trials[0]}")
    return lines


def charts(sweep: Sweep, outcome: Outcome, settings: Settings, tracker: str = MLFLOW) -> str:
    """Where to look at the curves: the sweep's page on the server, or the verb that serves one.

    Empty where a package's tracker names no page. A database has none: the verb serves one.
    """
    own = tracker != MLFLOW
    if (own or not settings.embedded_tracker) and outcome.backlog.empty:
        with contextlib.suppress(BnsweepError):  # away again: the verb says so when it is typed
            if page := connect(settings, tracker).experiment_url(sweep.name):
                return page
    return "" if own else f"bnsweep ui {sweep.name}"


def next_commands(sweep: Sweep, outcome: Outcome, curves: str, tracker: str = MLFLOW) -> list[str]:
    """What to type next."""
    option, called = ("", "MLflow") if tracker == MLFLOW else (f" --tracker {tracker}", tracker)
    name, lines = sweep.name, []
    if outcome.exit_code == 4:
        lines.append(f"to go on:       bnsweep resume {name}")
    elif outcome.exit_code == 1:
        lines.append(f"to try again:   bnsweep resume {name} --trial TRIAL")
    if outcome.backlog.trials:
        why = f" ({outcome.backlog.problem})" if outcome.backlog.problem else ""
        lines.append(f"{called} lacks {outcome.backlog.trials} trials{why}")
        lines.append(f"to send them:   bnsweep sync {name}{option}")
    if curves and any(status.epoch or status.state == "finished" for status in outcome.statuses):
        lines.append(f"curves:         {curves}")
    if outcome.counts["finished"]:
        lines.append(f"figures:        bnsweep report {name}")
    lines.append(f"each trial:     bnsweep status {name}")
    return lines
