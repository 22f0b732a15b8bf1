"""What a launch says at its end: the table, what failed and why, where to look, what to type."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from typing import TYPE_CHECKING

from rich.text import Text

from orchestrator.cli import screen
from orchestrator.cli.board import labels
from orchestrator.errors import BnsweepError
from orchestrator.launching.driver import Outcome
from orchestrator.library import Sweep, connect
from orchestrator.settings import Settings
from orchestrator.store.store import Store

if TYPE_CHECKING:
    from orchestrator.reporting.tables import Table  # loads SciPy, which takes a second


def show(swept: Sweep, outcome: Outcome, settings: Settings) -> None:
    """Print the end of a launch for a person: results to stdout, advice to stderr."""
    screen.show("", *result_table(swept, outcome, Store(settings.store)), "")
    counted = Text.assemble((f"{swept.name}: ", "bold"), screen.counts(outcome.counts))
    screen.show(counted)
    for line in failures(swept, outcome):
        screen.say(line, "red")
    for line in advice(swept, outcome, charts(swept, outcome, settings)):
        screen.say(line)


def as_json(swept: Sweep, outcome: Outcome, settings: Settings) -> None:
    """The last event of `launch --json`."""
    event = {
        "event": "ended",
        "sweep": swept.name,
        "launch": outcome.launch,
        "counts": outcome.counts,
        "exit_code": outcome.exit_code,
        "untracked_trials": outcome.backlog.trials,
        "curves": charts(swept, outcome, settings),
        "store": str(settings.store),
    }
    screen.write(json.dumps(event) + "\n")


def result_table(swept: Sweep, outcome: Outcome, store: Store) -> list[object]:
    """Accuracy by configuration, with its notes."""
    from orchestrator.reporting import tables  # loads SciPy, which takes a second

    found = (store.result(s.trial_id) for s in outcome.statuses if s.state == "finished")
    results = [result for result in found if result is not None]
    return rendered(tables.accuracy_table(swept.trials, results, outcome.statuses))


def rendered(table: Table) -> list[object]:
    """A report's table for the terminal."""
    return [
        Text(table.title, "bold"),
        screen.table(table.columns, table.rows),
        *(Text(note, "yellow") for note in table.notes),
    ]


def failures(swept: Sweep, outcome: Outcome) -> list[str]:
    """Each cause once, with the trials that failed of it and how to see more."""
    short = labels(swept.trials)
    by_cause: dict[str, list[str]] = defaultdict(list)
    for status in outcome.statuses:
        if status.state == "failed":
            by_cause[status.cause].append(status.trial_id)
    lines = []
    for cause, trials in by_cause.items():
        who = short[trials[0]] if len(trials) == 1 else f"{len(trials)} trials"
        lines.append(f"failed: {who}: {cause}\n  see: bnsweep logs {trials[0]}")
    return lines


def charts(swept: Sweep, outcome: Outcome, settings: Settings) -> str:
    """Where to look at the curves: the sweep's page on the server, or the verb that serves one."""
    if not settings.embedded_tracker and outcome.backlog.empty:
        with contextlib.suppress(BnsweepError):  # away again: the verb says so when it is typed
            return connect(settings).experiment_url(swept.name)
    return f"bnsweep ui {swept.name}"


def advice(swept: Sweep, outcome: Outcome, curves: str) -> list[str]:
    """What to type next."""
    name, lines = swept.name, []
    if outcome.exit_code == 4:
        lines.append(f"to go on:       bnsweep resume {name}")
    elif outcome.exit_code == 1:
        lines.append(f"to try again:   bnsweep resume {name} --trial TRIAL")
    if outcome.backlog.trials:
        why = f" ({outcome.backlog.problem})" if outcome.backlog.problem else ""
        lines.append(f"MLflow lacks {outcome.backlog.trials} trials{why}")
        lines.append(f"to send them:   bnsweep sync {name}")
    lines.append(f"curves:         {curves}")
    lines.append(f"figures:        bnsweep report {name}")
    lines.append(f"each trial:     bnsweep status {name}")
    return lines
