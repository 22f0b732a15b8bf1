"""What a launch looks like while it runs: its events, and a board that rich can draw.

Nothing here prints. The board is fed with the states of all trials, about once a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.planning import costs
from orchestrator.store.records import Launch, State, TrialStatus, count_states
from orchestrator.sweep.labels import labels
from trainer.spec import TrialSpec

Kind = Literal["begun", "epoch", "finished", "failed", "stopped"]

_BAR_COLUMNS = 12
_LABEL_COLUMNS = 28
_ROWS_KEPT = 7
"""Lines of the terminal that are left to the header, the summary and the notes."""
_COLUMNS: dict[str, Literal["left", "right"]] = {
    "trial": "left",
    "": "left",
    "epoch": "right",
    "test acc": "right",
    "speed": "right",
    " ": "left",
    "where": "left",
}
_SUMMED: tuple[State, ...] = ("running", "failed", "stopped")


@dataclass(frozen=True)
class Event:
    """Something that happened to a trial."""

    kind: Kind
    label: str
    status: TrialStatus

    @property
    def text(self) -> str:
        """The event in a line, for a person."""
        status = self.status
        match self.kind:
            case "begun":
                again = f", attempt {status.attempt}" if status.attempt > 1 else ""
                owner = f" ({status.owner})" if status.owner else ""  # over between two looks
                return f"{self.label}: begins{again}{owner}"
            case "epoch":
                return f"{self.label}: epoch {epochs_text(status)}{_accuracy(status)}"
            case "finished":
                took = f" in {clock(status.seconds)}" if status.seconds is not None else ""
                return f"{self.label}: finished{_accuracy(status)}{took}"
            case "failed" | "stopped":
                return f"{self.label}: {self.kind} after epoch {status.epoch or 0}: {status.cause}"

    def to_json(self) -> dict[str, Any]:
        """One line of `launch --json`."""
        return {"event": self.kind, **asdict(self.status)}


class Board:
    """The trials of a launch as last seen. rich draws it; `update` says what is new."""

    def __init__(self, launch: Launch, now: Callable[[], float] = time.time) -> None:
        self._launch = launch
        self._specs = {spec.trial_id: spec for spec in launch.specs}
        self._labels = labels(list(self._specs.values()))
        self._now = now
        self._begun = now()
        self._seen: dict[str, TrialStatus] = {}
        self._finished_before = 0
        self._nothing_began = True

    def start(self, statuses: Sequence[TrialStatus]) -> None:
        """The states before anything ran: they are no news."""
        self._seen = {s.trial_id: s for s in statuses}
        self._finished_before = self.counts["finished"]

    def update(self, statuses: Sequence[TrialStatus]) -> list[Event]:
        """Take in new states; returns what happened since the last ones."""
        events = [event for status in statuses for event in self._events(status)]
        self._nothing_began &= not any(event.kind == "begun" for event in events)
        self._seen = {s.trial_id: s for s in statuses}
        return events

    def _events(self, new: TrialStatus) -> Iterator[Event]:
        old = self._seen.get(new.trial_id) or TrialStatus(new.trial_id, "pending")
        label = self._labels.get(new.trial_id, new.trial_id)
        if new.attempt > old.attempt:
            yield Event("begun", label, new)
        if new.epoch is not None and new.epoch != old.epoch:
            yield Event("epoch", label, new)
        if new.state in ("finished", "failed", "stopped") and (
            new.state != old.state or new.attempt != old.attempt
        ):
            yield Event(new.state, label, new)

    @property
    def counts(self) -> dict[State, int]:
        """Number of trials in each state."""
        return count_states(self._seen.values())

    @property
    def running(self) -> list[TrialStatus]:
        """The trials that run, in the launch's order."""
        return [s for s in self._seen.values() if s.state == "running"]

    def summary(self) -> str:
        """The sweep in a line: done, running, failed, rate, time left and its basis."""
        counts = self.counts
        parts = [f"{counts['finished']}/{len(self._specs)} done"]
        parts += [f"{counts[s]} {s}" for s in _SUMMED if counts[s]]
        if counts["pending"] and self._nothing_began:
            parts.append(f"starting workers ({clock(self._now() - self._begun)})")
        text = ", ".join(parts)
        done = counts["finished"] - self._finished_before
        minutes = (self._now() - self._begun) / 60
        if done > 0 and minutes > 0:
            text += f" · {done / minutes:.2g}/min"
        left, basis = self.time_left()
        return f"{text} · {clock(left)} left ({basis})" if left else text

    def time_left(self) -> tuple[float | None, str]:
        """Seconds until all is done, and the basis; None where nothing is known or left.

        Scaled by the trials' FLOPs from those of this sweep that have finished, as many side by
        side as run now.
        """
        known = [s for s in self._seen.values() if s.seconds and self._work(s, s.epochs)]
        work = sum(self._work(s, s.epochs) for s in known)
        side_by_side = len(self.running)
        if not work or not side_by_side:
            return None, ""
        left = sum(
            self._work(s, (s.epochs or self._specs[s.trial_id].epochs) - (s.epoch or 0))
            for s in self._seen.values()
            if s.state in ("pending", "running")
        )
        seconds = sum(s.seconds or 0.0 for s in known)
        return left * seconds / work / side_by_side, f"as {len(known)} took"

    def _work(self, status: TrialStatus, epochs: int) -> float:
        spec = self._specs.get(status.trial_id)
        if not (spec and spec.epochs):
            return 0.0
        # What was not described here is taken to cost the same for each epoch.
        return (costs.training_flops(spec) or float(spec.epochs)) * epochs / spec.epochs

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        running = self.running
        visible = running[: max(1, console.size.height - _ROWS_KEPT)]
        yield self._grid(visible)
        if len(running) > len(visible):
            yield Text(f"… and {len(running) - len(visible)} more", "dim")
        yield Text.assemble((self._launch.sweep.name, "bold"), " ", self.summary())

    def _grid(self, visible: Sequence[TrialStatus]) -> Table:
        grid = Table(
            box=None,
            show_header=bool(visible),
            header_style="dim",
            pad_edge=False,
            padding=(0, 2, 0, 0),
        )
        longest = max((len(label) for label in self._labels.values()), default=0)
        for name, justify in _COLUMNS.items():
            least = min(longest, _LABEL_COLUMNS) if name == "trial" else None
            grid.add_column(
                name, justify=justify, no_wrap=True, overflow="ellipsis", min_width=least
            )
        for status in visible:
            grid.add_row(*self._row(status))
        return grid

    def _row(self, status: TrialStatus) -> list[RenderableType]:
        rate = status.images_per_second
        accuracy = status.test_accuracy
        return [
            Text(self._labels.get(status.trial_id, status.trial_id), "cyan"),
            _bar(status.epochs_done / max(status.epochs, 1)),
            Text(epochs_text(status)),
            Text("" if accuracy is None else f"{accuracy:.1f} %"),
            Text("" if rate is None else f"{_short(rate)} img/s", "dim"),
            Text(f"try {status.attempt}" if status.attempt > 1 else "", "yellow"),
            Text(place(status), "dim"),
        ]


def epochs_text(status: TrialStatus) -> str:
    """`3/10`: epochs done and to do."""
    return f"{status.epoch or 0}/{status.epochs}"


def seconds_left(status: TrialStatus, spec: TrialSpec) -> float | None:
    """Training time that a running trial has left at its speed; None where that is unknown."""
    images = costs.training_images(spec)
    if status.state != "running" or not status.images_per_second or not images:
        return None
    return (status.epochs - status.epochs_done) * images / status.images_per_second


def place(status: TrialStatus) -> str:
    """Where a trial runs: `GPU 0 node7`; what does not fit a line is cut from the right."""
    host = status.owner.partition(",")[0][:16]
    return f"GPU {status.gpu} {host}" if status.gpu else host


def clock(seconds: float) -> str:
    """Seconds for a person: 12 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def when(time_ms: int) -> str:
    """A time in milliseconds since 1970 as local date and time."""
    return datetime.fromtimestamp(time_ms / 1000).strftime("%Y-%m-%d %H:%M:%S")


def _bar(share: float) -> Text:
    """A bar that can be read without colours too."""
    filled = round(min(share, 1.0) * _BAR_COLUMNS)
    return Text.assemble(("━" * filled, "cyan"), ("─" * (_BAR_COLUMNS - filled), "dim"))


def _accuracy(status: TrialStatus) -> str:
    return "" if status.test_accuracy is None else f", test accuracy {status.test_accuracy:.2f} %"


def _short(value: float) -> str:
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"
