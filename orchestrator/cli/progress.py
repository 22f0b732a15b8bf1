"""How a launch is followed: a live board on a terminal, lines in a log, JSON for programs.

Each follower writes to a copy of the stream that it found: while Ray runs, the streams themselves
lead into the launch's log (see launch_ray).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from rich.live import Live
from rich.text import Text

from orchestrator.cli import screen
from orchestrator.cli.board import Board, Event
from orchestrator.cli.verbs import as_called
from orchestrator.store.records import Launch, TrialStatus
from orchestrator.store.store import Store

SUMMARY_S = 60.0
"""Without a terminal, the sweep's line comes this often."""
_TOLD = ("failed", "stopped")
"""What stays on the screen above the board."""


class Follower(Protocol):
    """An observer of a launch (see monitor)."""

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None: ...
    def update(self, statuses: Sequence[TrialStatus]) -> None: ...
    def note(self, text: str) -> None: ...


@contextlib.contextmanager
def following(store: Store, *, as_json: bool, quiet: bool, chatter: bool) -> Iterator[Follower]:
    """The follower that suits the options and the terminal.

    From the start of the launch on, all else that is written goes into the launch's log: Ray and
    MLflow say much that is not for the user. `chatter` leaves it where it is, for debugging.
    """
    with _follower(as_json, quiet) as follower, contextlib.ExitStack() as stack:
        yield follower if chatter else _Apart(follower, store, stack)


class _Apart:
    """A follower that sends what others write into the launch's log, until the stack is left."""

    def __init__(self, follower: Follower, store: Store, stack: contextlib.ExitStack) -> None:
        self._store, self._stack = store, stack
        self._follower = follower
        self.update, self.note = follower.update, follower.note

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        self._stack.enter_context(_written_to(self._store.launch_log(launch.sweep, launch.number)))
        self._follower.started(launch, statuses)


@contextlib.contextmanager
def _written_to(log: Path) -> Iterator[None]:
    """Standard output and error, as the system knows them, lead into the file meanwhile."""
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = [(number, os.dup(number)) for number in (1, 2)]
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        for number, _ in kept:
            os.dup2(file, number)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        os.close(file)


@contextlib.contextmanager
def _follower(as_json: bool, quiet: bool) -> Iterator[Follower]:
    with _copy_of(sys.stdout if as_json else sys.stderr) as stream:
        if as_json:
            yield AsJson(stream)
        elif quiet:
            yield Quiet()
        elif stream.isatty():
            terminal = screen.console(stream)
            with Live(
                console=terminal,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,  # what others write has its place: the launch's log
                redirect_stderr=False,
            ) as live:
                yield OnTerminal(live)
        else:
            yield InLines(stream)


@contextlib.contextmanager
def _copy_of(stream: IO[str]) -> Iterator[IO[str]]:
    stream.flush()
    with os.fdopen(os.dup(stream.fileno()), "w", buffering=1, encoding="utf-8") as copy:
        yield copy


class Quiet:
    """Shows nothing."""

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        """Nothing."""

    def update(self, statuses: Sequence[TrialStatus]) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class OnTerminal:
    """The board, drawn again at each look; failures and notes stay above it."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._board: Board | None = None

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        """Begin the board."""
        self._board = Board(launch)
        self._board.start(statuses)
        self._live.update(self._board, refresh=True)

    def update(self, statuses: Sequence[TrialStatus]) -> None:
        """Draw the board, and tell what failed."""
        if self._board is None:
            return
        for event in self._board.update(statuses):
            if event.kind in _TOLD:
                self._live.console.print(event.styled)
        self._live.update(self._board, refresh=True)

    def note(self, text: str) -> None:
        """Print the note above the board."""
        self._live.console.print(Text(as_called(text), "yellow"))


class InLines:
    """A line for each event, with its time; the sweep's own line now and then."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._board: Board | None = None
        self._summary_at = time.monotonic() + SUMMARY_S

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        """Name the launch."""
        self._board = Board(launch)
        self._board.start(statuses)
        self.note(f"launch {launch.number} of {launch.sweep}: {self._board.summary()}")

    def update(self, statuses: Sequence[TrialStatus]) -> None:
        """Print what is new; epochs are left to the summary."""
        if self._board is None:
            return
        for event in self._board.update(statuses):
            if event.kind != "epoch":
                self.note(event.text)
        if time.monotonic() >= self._summary_at:
            self._summary_at = time.monotonic() + SUMMARY_S
            self.note(self._board.summary())

    def note(self, text: str) -> None:
        """Print the note."""
        self._stream.write(f"{time.strftime('%H:%M:%S')} {as_called(text)}\n")
        self._stream.flush()


class AsJson:
    """Each event as a line of JSON."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._board: Board | None = None

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        """Name the launch."""
        self._board = Board(launch)
        self._board.start(statuses)
        self.write(
            {
                "event": "launched",
                "sweep": launch.sweep,
                "launch": launch.number,
                "counts": self._board.counts,
            }
        )

    def update(self, statuses: Sequence[TrialStatus]) -> None:
        """Write each event."""
        events: list[Event] = self._board.update(statuses) if self._board else []
        for event in events:
            self.write(event.to_json())

    def note(self, text: str) -> None:
        """Write the note as an event."""
        self.write({"event": "note", "text": text})

    def write(self, content: dict[str, object]) -> None:
        """One line."""
        self._stream.write(json.dumps(content) + "\n")
        self._stream.flush()
