"""What is wrong with a sweep file, as records; they become lines of text at the very end."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.sweep.other_names import ours

MAX_SHOWN = 40


@dataclass(frozen=True)
class Place:
    """Where something was written: a line of a file, or the `--set` that gave it."""

    name: str
    line: int | None = None
    column: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.name if self.line is None else f"{self.name}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """Something in a sweep file that means nothing."""

    place: Place
    key: str
    """The key as a path, `axes.depth`; empty where the problem belongs to none."""
    message: str
    allowed: str = ""
    word: str = ""
    """What may be a misspelling of one of the `choices`."""
    choices: tuple[str, ...] = ()
    hint_first: bool = False
    """Whether the nearest spelling stands before what is allowed, which is long."""

    def __str__(self) -> str:
        """`place: key: found …; allowed: …` on one line, the nearest spelling beside it."""
        hint = nearest(self.word, self.choices)
        allowed = f"; allowed: {self.allowed}" if self.allowed else ""
        ends = [hint, allowed] if self.hint_first else [allowed, hint]
        key = [one_line(self.key, 80)] if self.key else []
        return one_line(": ".join([str(self.place), *key, self.message + "".join(ends)]))


@dataclass
class Problems:
    """Collects what is wrong with a file, so that the user sees all of it at once."""

    records: dict[Problem, None] = field(default_factory=dict)
    """In the order in which they were met, each once."""
    tracebacks: list[str] = field(default_factory=list)
    """Of the user's own code, for `--debug`."""

    def add(self, place: Place, key: str, message: str, allowed: str = "", **hint: Any) -> None:
        """One problem; `hint` as in `Problem`."""
        self.records[Problem(place, key, message, allowed, **hint)] = None

    def raise_if_any(self) -> None:
        """End with a `SweepError` of all problems in the file's order (the first 40 of very many);
        those of `--set` come last, as they were met."""
        ordered = sorted(self.records, key=_position)
        lines = [str(problem) for problem in ordered[:MAX_SHOWN]]
        if len(ordered) > MAX_SHOWN:
            lines.append(f"… and {len(ordered) - MAX_SHOWN} more problems of these kinds")
        if lines:
            raise SweepError(*lines) from code_error(self.tracebacks)


def code_error(tracebacks: Iterable[str]) -> Exception | None:
    """The cause of an error that the user's own code has made: its tracebacks; None: no such."""
    texts = dict.fromkeys(text for text in tracebacks if text)
    return RuntimeError("in the code:\n\n" + "\n".join(texts)) if texts else None


def _position(problem: Problem) -> tuple[float, int]:
    return problem.place.line or math.inf, problem.place.column


def nearest(word: str, choices: Iterable[str]) -> str:
    """`; did you mean depth?` where a choice is spelled nearly so, or called so elsewhere; else
    nothing."""
    choices = list(choices)
    if (meant := ours(word)) in choices and meant != word:
        return f"; did you mean {meant}?"
    close = difflib.get_close_matches(word[:80], choices, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def one_line(text: str, most: int = 2000) -> str:
    """The text on one printable line of at most `most` characters."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
