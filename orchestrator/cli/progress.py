"""How a launch is followed: a live board on a terminal, lines in a log, JSON for programs.

Each observer writes to a copy of the stream that it found: while Ray runs, the streams themselves
lead into the launch's log (see launching/standard_output.py).
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import IO

from rich.live import Live
from rich.text import Text

from orchestrator.cli import screen
from orchestrator.cli.verbs import as_called
from orchestrator.launching import progress
from orchestrator.launching.monitor import Observer
from orchestrator.launching.progress import TOLD, WithBoard, copy_of
from orchestrator.store.records import Launch, TrialStatus


@contextlib.contextmanager
def following(*, as_json: bool, quiet: bool) -> Iterator[Observer]:
    """The observer that suits the options and the terminal."""
    with copy_of(sys.stdout if as_json else sys.stderr) as stream:
        if as_json:
            yield AsJson(stream)
        elif quiet:
            yield Observer()
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


class OnTerminal(WithBoard):
    """The board, drawn again at each look; failures and notes stay above it."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        super().started(launch, statuses)
        self._live.update(self.board, refresh=True)

    def update(self, statuses: Sequence[TrialStatus]) -> None:
        for event in self.board.update(statuses):
            if event.kind in TOLD:
                self._live.console.print(Text(event.text, screen.STATE_STYLES[event.kind]))
        self._live.update(self.board, refresh=True)

    def note(self, text: str) -> None:
        self._live.console.print(Text(as_called(text), "yellow"))


class InLines(progress.InLines):
    """The lines, with commands as the caller types them."""

    def note(self, text: str) -> None:
        super().note(as_called(text))


class AsJson(WithBoard):
    """Each event as a line of JSON."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        super().started(launch, statuses)
        self.write(
            {
                "event": "launched",
                "sweep": launch.sweep.name,
                "launch": launch.number,
                "counts": self.board.counts,
            }
        )

    def update(self, statuses: Sequence[TrialStatus]) -> None:
        for event in self.board.update(statuses):
            self.write(event.to_json())

    def note(self, text: str) -> None:
        self.write({"event": "note", "text": text})

    def write(self, content: dict[str, object]) -> None:
        self._stream.write(json.dumps(content) + "\n")
        self._stream.flush()
