"""Where words go: results to standard output, everything else to standard error.

All of them pass `printable` on their way: causes, logs, names and descriptions are other people's.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Literal

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from orchestrator.cli.verbs import as_called
from orchestrator.printable import printable

if TYPE_CHECKING:
    from orchestrator.reporting.tables import Table as ReportTable  # loads SciPy: a second

WIDE = 160
"""Columns where nobody looks through a terminal: nothing is cut off."""

MANY = 1000
"""A longer table has no colours: styling its cells one by one takes seconds."""

STATE_STYLES = {
    "finished": "green",
    "running": "cyan",
    "failed": "bold red",
    "stopped": "yellow",
    "pending": "dim",
}


class _PrintableConsole(Console):
    """Whatever it draws, its text is printable."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """What rich makes of it, less what the text itself would do to a terminal."""
        for segment in super().render(renderable, options):
            ours = segment.control is not None
            yield segment if ours else segment._replace(text=printable(segment.text))

    def on_broken_pipe(self) -> None:
        """Leave a reader that went away to whoever prints: rich would end the process with 1."""
        raise BrokenPipeError


def console(file: IO[str] | None = None) -> Console:
    """A console on standard output (or `file`) that prints text as it is: no markup, no emoji."""
    file = file or sys.stdout
    narrow = file.isatty() or "COLUMNS" in os.environ
    return _PrintableConsole(
        file=file, markup=False, emoji=False, highlight=False, width=None if narrow else WIDE
    )


def show(*renderables: Any) -> None:
    """Print results: text, tables and other renderables."""
    console().print(*renderables, sep="\n")


def say(text: str, style: str = "") -> None:
    """Tell the user something on standard error, in a line that is not cut."""
    console(sys.stderr).print(Text(as_called(text), style), soft_wrap=True)


def write(text: str) -> None:
    """Pass text on as it is, for programs."""
    sys.stdout.write(printable(text))
    sys.stdout.flush()


def write_log(text: str) -> None:
    """Show a log: its colours stay, and a line that was written over stands above the next."""
    sys.stdout.write(printable(re.sub(r"\r\n?", "\n", text), colours=True))
    sys.stdout.flush()


def show_json(content: Any) -> None:
    """Print a value as JSON: the only thing on standard output."""
    json.dump(content, sys.stdout, indent=1, default=str)
    print()


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[str] = ()
) -> Table | Text:
    """A plain table with two spaces between columns. `right`: the columns of numbers."""
    rows = list(rows)
    if len(rows) > MANY:
        return _long_table(columns, rows, set(right))
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold underline")
    for name in columns:  # where it is narrow, the last column gives way: causes and states fold
        side: Literal["left", "right"] = "right" if name in right else "left"
        grid.add_column(name, justify=side, overflow="fold", no_wrap=name != columns[-1])
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else printable(str(cell)) for cell in row))
    return grid


def _long_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Container[str]
) -> Text:
    """The same columns as text without colours, where nothing folds."""
    cells = [list(columns), *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = [str.rjust if name in right else str.ljust for name in columns]
    lines = (
        "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True))
        for row in cells
    )
    return Text("\n".join(line.rstrip() for line in lines), no_wrap=True, overflow="ignore")


def entry(title: str, text: str) -> Table:
    """A title and, beside it, a text that folds under itself."""
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column(style="bold", width=14, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(printable(title), printable(text))
    return grid


def titled_table(content: ReportTable) -> list[Any]:
    """A table of the report for the terminal, its title above and its notes below."""
    return [
        Text(content.title, "bold"),
        table(content.columns, content.rows),
        *(Text(note, "yellow") for note in content.notes),
    ]


def state(name: str) -> Text:
    """A trial's state in its colour."""
    return Text(name, STATE_STYLES.get(name, ""))


def counts(states: Mapping[Any, int]) -> Text:
    """`3 finished, 1 failed`, each in its colour."""
    parts = [Text(f"{n} {name}", STATE_STYLES.get(name, "")) for name, n in states.items() if n]
    return Text(", ").join(parts) if parts else Text("no trials", "dim")


def size(count: float) -> str:
    """A number of bytes or operations for a person: 1.2k, 34M."""
    for unit in ("", "k", "M", "G", "T"):
        if abs(count) < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}P"


def ask(question: str) -> bool:
    """Put a question to a person; Return alone means yes."""
    console(sys.stderr).print(Text(f"{question} [Y/n] "), end="")
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")


def confirm(question: str) -> None:
    """Ask a person, where there is one. Abort where the answer is no."""
    if interactive() and not ask(question):
        raise typer.Abort


def interactive() -> bool:
    """Whether a person can be asked, and sees the question."""
    return sys.stdin.isatty() and sys.stderr.isatty()
