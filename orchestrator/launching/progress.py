"""How a launch is followed from Python: a board that a notebook redraws, else lines.

The command line shows launches with the same board and lines (cli/progress.py).
"""

from __future__ import annotations

import contextlib
import html
import io
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any, TextIO

from rich.console import Console

from orchestrator import streams
from orchestrator.launching.board import Board
from orchestrator.launching.monitor import Observer
from orchestrator.printable import printable
from orchestrator.store.records import Launch, TrialStatus

SUMMARY_S = 60.0
"""As lines, the sweep's own comes this often."""
TOLD = ("failed", "stopped")
"""Events that stay visible beside the board."""
_COLUMNS = 110


@contextlib.contextmanager
def showing() -> Iterator[Observer]:
    """The observer that suits whoever called from Python: a notebook's cell, or standard error."""
    if display := _notebook_display():
        yield InNotebook(display)
        return
    with copy_of(sys.stderr) as stream:
        yield InLines(stream)


@contextlib.contextmanager
def copy_of(stream: TextIO) -> Iterator[Any]:
    """A stream to where this one leads now: while Ray runs, standard output and error themselves
    lead into the launch's log. One that is no file (a test's, say) is its own copy."""
    stream.flush()
    try:
        number = os.dup(stream.fileno())
    except (OSError, ValueError):
        yield stream
        return
    with os.fdopen(
        number, "w", buffering=1, encoding=stream.encoding, errors=streams.FALLBACK
    ) as copy:
        yield streams.Outlasting(copy)


def _notebook_display() -> Any:
    """IPython's `display` where this runs in a notebook's kernel, which redraws what it shows."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display


class WithBoard(Observer):
    """Keeps the board of what it follows."""

    board: Board

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        """Begin the board."""
        self.board = Board(launch)
        self.board.start(statuses)


class InLines(WithBoard):
    """A line for each event, with its time; the sweep's own line now and then."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._summary_at = time.monotonic() + SUMMARY_S

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        super().started(launch, statuses)
        self.note(f"launch {launch.number} of {launch.sweep.name}: {self.board.summary()}")

    def update(self, statuses: Sequence[TrialStatus]) -> None:
        for event in self.board.update(statuses):
            if event.kind != "epoch":  # those are left to the summary
                self.note(event.text)
        if time.monotonic() >= self._summary_at:
            self._summary_at = time.monotonic() + SUMMARY_S
            self.note(self.board.summary())

    def note(self, text: str) -> None:
        self._stream.write(f"{time.strftime('%H:%M:%S')} {printable(text)}\n")
        self._stream.flush()


class InNotebook(WithBoard):
    """The board in the cell's output, drawn again at each look, failures and notes above it."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._handle: Any = None
        self._told: list[str] = []

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        super().started(launch, statuses)
        self._handle = self._display(self._drawn(), raw=True, display_id=True)

    def update(self, statuses: Sequence[TrialStatus]) -> None:
        events = self.board.update(statuses)
        self._told += [event.text for event in events if event.kind in TOLD]
        self._handle.update(self._drawn(), raw=True)

    def note(self, text: str) -> None:
        self._told.append(text)
        self._handle.update(self._drawn(), raw=True)

    def _drawn(self) -> dict[str, str]:
        """By MIME type, so that a reader without HTML has the text."""
        console = Console(
            file=io.StringIO(),
            record=True,
            width=_COLUMNS,
            height=1000,
            force_jupyter=False,  # else rich shows each drawing as an output of its own
        )
        console.print(self.board)
        told = "".join(f"{line}\n" for line in self._told)
        plain = told + console.export_text(clear=False)
        coloured = console.export_html(inline_styles=True, code_format="{code}")
        return {"text/plain": plain, "text/html": f"<pre>{html.escape(told)}{coloured}</pre>"}
