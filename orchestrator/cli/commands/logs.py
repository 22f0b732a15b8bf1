"""`bnsweep logs`."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli import options, screen
from orchestrator.printable import printable
from orchestrator.settings import load as load_settings
from orchestrator.store import lookup
from orchestrator.store.folder import LOG
from orchestrator.store.store import Store

EXAMPLES = ("bnsweep logs 6dcfdff9", "bnsweep logs 6dcfdff9 -f")
FOLLOW_S = 0.5


def logs(
    trial: options.TrialId,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as the log grows.")] = False,
    store_folder: options.StoreFolder = None,
) -> None:
    """Show a trial's log; the traceback of a failed attempt comes first."""
    store = Store(load_settings(store_folder).store)
    trial_id = lookup.trial_id(store, trial)
    attempts = store.attempts(trial_id)
    if not attempts and not follow:
        screen.say(f"trial {trial_id}: was never begun; launch its sweep: bnsweep launch SWEEP")
    _show_failures(store, trial_id, attempts)
    with contextlib.suppress(KeyboardInterrupt):
        printed = sum(_print_log(store, trial_id, number, 0) for number in attempts)
        if attempts and not printed and not follow:
            screen.say(f"trial {trial_id}: printed nothing; its numbers: bnsweep show {trial_id}")
        if follow:
            _follow(store, trial_id)


def _show_failures(store: Store, trial_id: str, attempts: list[int]) -> None:
    """Each failed attempt's cause; the traceback of the last attempt's."""
    for number in attempts:
        failure = store.failure_of(trial_id, number)
        if failure is not None:
            attempt = f"attempt {number} on {failure.host or 'an unknown host'}"
            cause = printable(f"{attempt}, {failure.failure}: {failure.cause}")
            screen.show(Text(cause, "red"))
            if number == attempts[-1] and failure.traceback:
                screen.show(failure.traceback.rstrip())


def _print_log(store: Store, trial_id: str, number: int, position: int) -> int:
    """Print an attempt's log from a byte position on; returns where it ended."""
    path = store.attempt_folder(trial_id, number) / LOG
    if not path.is_file():  # none yet; of a pipe none would ever come
        return position
    with path.open("rb") as file:
        file.seek(position)
        text = file.read().decode(errors="replace")
        position = file.tell()
    if text:
        screen.write_log(text)
    return position


def _follow(store: Store, trial_id: str) -> None:
    """Print what comes, attempt after attempt, until the trial is at rest."""
    number = max(store.attempts(trial_id), default=1)
    path = store.attempt_folder(trial_id, number) / LOG
    position = path.stat().st_size if path.exists() else 0
    while True:
        state = store.state(trial_id).state
        position = _print_log(store, trial_id, number, position)
        newest = max(store.attempts(trial_id), default=number)
        if newest > number:
            number, position = newest, 0
        elif state not in ("running", "pending"):
            return
        else:
            time.sleep(FOLLOW_S)
