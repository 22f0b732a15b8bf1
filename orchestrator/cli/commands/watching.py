"""The verbs that look: status, show, logs. They only read the store."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.text import Text

from orchestrator import settings
from orchestrator.cli import lookup, options, screen, trial_details
from orchestrator.cli.board import Board, clock, epochs_text, labels, place, seconds_left, when
from orchestrator.cli.options import examples
from orchestrator.errors import UserError
from orchestrator.store.folder import LOG
from orchestrator.store.records import STATES, Launch, TrialStatus
from orchestrator.store.store import Store
from trainer.spec import TrialSpec

app = typer.Typer(rich_markup_mode=None)

Watch = Annotated[bool, typer.Option("-w", "--watch", help="Look again every two seconds.")]
Follow = Annotated[bool, typer.Option("-f", "--follow", help="Go on as the log grows.")]
WATCH_S = 2.0
FOLLOW_S = 0.5
SHA256_LENGTH = 64


@app.command(
    "status",
    epilog=examples("bnsweep status", "bnsweep status quickstart -w"),
)
def status(
    name: options.OptionalSweepName = "",
    watch: Watch = False,
    as_json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Show all sweeps, or a sweep's trials: state, epoch, accuracy, speed, time left, cause."""
    opened = Store(settings.load(store).store)
    if not name:
        _all_sweeps(opened, as_json)
        return
    launch = lookup.launch_of(opened, name)
    if watch and not as_json:
        _watch(opened, launch)
        return
    statuses = [opened.state(spec) for spec in launch.specs]
    if as_json:
        screen.show_json(_status_json(launch, statuses))
    else:
        screen.show(_trial_table(launch, statuses), "", _counted(launch.sweep, statuses))
        screen.say(f"\nnext: bnsweep {_next(name, statuses)}", "dim")


def _next(name: str, statuses: Iterable[TrialStatus]) -> str:
    states = {status.state for status in statuses}
    if "running" in states:
        return f"status {name} -w"
    if "failed" in states:
        return "logs TRIAL"
    return f"resume {name}" if states & {"stopped", "pending"} else f"report {name}"


def _all_sweeps(store: Store, as_json: bool) -> None:
    rows = []
    for name in store.sweeps():
        launch = store.newest_launch(name)
        if launch is not None:
            states = [store.state(spec).state for spec in launch.specs]
            rows.append((launch, {state: states.count(state) for state in STATES}))
    if as_json:
        screen.show_json({"sweeps": [{"sweep": x.sweep, "counts": n} for x, n in rows]})
    elif rows:
        cells = [[x.sweep, when(x.time_ms), screen.counts(n)] for x, n in rows]
        screen.show(screen.table(["sweep", "launched", "trials"], cells))
    elif store.root.exists() and not store.root.is_dir():
        raise UserError(f"store {store.root}: is not a folder; give another with --store")
    else:
        where = "no sweeps in" if store.root.exists() else "there is no store yet at"
        screen.say(f"{where} {store.root}; begin with: bnsweep launch sweeps/quickstart.yaml")


def _watch(store: Store, launch: Launch) -> None:
    """Redraw until the sweep is at rest; Ctrl-C only stops looking."""
    board = Board(launch)
    try:
        with Live(console=screen.console(), auto_refresh=False) as live:
            while True:
                board.update([store.state(spec) for spec in launch.specs])
                live.update(board, refresh=True)
                if not board.running:
                    return
                time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return


def _status_json(launch: Launch, statuses: list[TrialStatus]) -> dict[str, Any]:
    states = [s.state for s in statuses]
    return {
        "sweep": launch.sweep,
        "launch": launch.number,
        "counts": {state: states.count(state) for state in STATES},
        "trials": [
            {**asdict(status), "seconds_left": seconds_left(status, spec)}
            for status, spec in zip(statuses, launch.specs, strict=True)
        ],
    }


def _trial_table(launch: Launch, statuses: Iterable[TrialStatus]) -> Any:
    short = labels(launch.specs)
    rows = [
        [
            short[status.trial_id],
            status.trial_id.rpartition("-")[2],
            screen.state(status.state),
            epochs_text(status),
            "" if status.test_accuracy is None else f"{status.test_accuracy:.2f}",
            _remark(status, spec),
        ]
        for status, spec in zip(statuses, launch.specs, strict=True)
    ]
    columns = ["trial", "id", "state", "epoch", "acc %", ""]
    return screen.table(columns, rows, right=["epoch", "acc %"])


def _remark(status: TrialStatus, spec: TrialSpec) -> str:
    """Of a running trial speed, time left and host; of one without a result the cause."""
    if status.state in ("failed", "stopped"):
        return status.cause
    if status.state != "running":
        return ""
    left, rate = seconds_left(status, spec), status.images_per_second
    parts = [f"{rate:.0f} img/s" if rate else "", f"{clock(left)} left" if left else ""]
    return ", ".join(part for part in [*parts, place(status)] if part)


def _counted(name: str, statuses: Iterable[TrialStatus]) -> Text:
    states = [s.state for s in statuses]
    counted = screen.counts({state: states.count(state) for state in STATES})
    return Text.assemble((f"{name}: ", "bold"), counted)


@app.command(
    "show",
    epilog=examples(
        "bnsweep show cifar_resnet-d14-w1-bn_only-s0-6dcfdff9", "bnsweep show 6dcfdff9 --json"
    ),
)
def show(
    trial: options.TrialId, as_json: options.Json = False, store: options.Store = None
) -> None:
    """Show everything about one trial, and why it will or will not run."""
    opened = Store(settings.load(store).store)
    found = trial_details.of(opened, lookup.trial_id(opened, trial))
    if as_json:
        screen.show_json(found)
        return
    for title, content in found.items():
        if title == "peak_memory_bytes":
            title, content = "peak memory", f"{screen.size(content)}B"
        screen.show(screen.entry(title, _plain(content)))


def _plain(value: Any) -> str:
    """A value of the dossier for a person; probes and long digests are left to --json."""
    if isinstance(value, dict):
        shown = {k: v for k, v in value.items() if not k.startswith("trained/")}
        hidden = len(value) - len(shown)
        parts = [f"{k} {_plain(v)}" for k, v in shown.items()]
        return ", ".join([*parts, f"and {hidden} probes (--json)"] if hidden else parts) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    text = str(value)
    return text[:12] if len(text) == SHA256_LENGTH and text.isalnum() else text


@app.command("logs", epilog=examples("bnsweep logs 6dcfdff9", "bnsweep logs 6dcfdff9 -f"))
def logs(
    trial: options.TrialId,
    follow: Follow = False,
    store: options.Store = None,
) -> None:
    """Show a trial's log; the traceback of a failed attempt comes first."""
    opened = Store(settings.load(store).store)
    trial_id = lookup.trial_id(opened, trial)
    attempts = opened.attempts(trial_id)
    if not attempts and not follow:
        screen.say(f"trial {trial_id}: was never begun; launch its sweep: bnsweep launch SWEEP")
    for number in attempts:
        failure = opened.failure_of(trial_id, number)
        if failure is not None:
            where = f"attempt {number} on {failure.host or 'an unknown host'}"
            screen.show(Text(f"{where}, {failure.failure}: {failure.cause}", "red"))
            if number == attempts[-1] and failure.traceback:
                screen.show(failure.traceback.rstrip())
    with contextlib.suppress(KeyboardInterrupt):
        printed = sum(_print_log(opened, trial_id, number, 0) for number in attempts)
        if attempts and not printed and not follow:
            screen.say(f"trial {trial_id}: printed nothing; its numbers: bnsweep show {trial_id}")
        if follow:
            _follow(opened, trial_id)


def _print_log(store: Store, trial_id: str, number: int, position: int) -> int:
    """Print an attempt's log from a byte position on; returns where it ended."""
    try:
        with (store.attempt_folder(trial_id, number) / LOG).open("rb") as file:
            file.seek(position)
            text = file.read().decode(errors="replace")
            position = file.tell()
    except FileNotFoundError:
        return position
    if text:
        screen.write(text)
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
