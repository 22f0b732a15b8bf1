"""The standard streams of a command: they are there, they can show what is written to them, and
whatever a launch writes to them does not end it."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

FALLBACK = "bnsweep"
"""How a stream shows what its encoding lacks: the name of an error handler."""
_ALIKE = {"±": "+-", "…": "...", "·": "-", "→": "->", "×": "x", "–": "-", "━": "#", "─": "-"}
_UTF8, _SHOWN_AS = "PYTHONUTF8", "BNSWEEP_STREAM_ENCODING"


def _alike(error: UnicodeError) -> tuple[str, int]:
    """For an encoding that lacks a character: one that looks like it, or its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    shown = (_ALIKE.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text)
    return "".join(shown), error.end


codecs.register_error(FALLBACK, _alike)


def use_utf8() -> None:
    """Start this command anew in Python's UTF-8 mode where the locale has another encoding.

    Paths and what is handed to libraries, workers and servers are then UTF-8 in all of them; the
    streams keep the encoding that the terminal has.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get(_UTF8) != "1":
        shown = next((s.encoding for s in (sys.stdout, sys.stderr) if s is not None), "utf-8")
        again = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, again, {**os.environ, _UTF8: "1", _SHOWN_AS: shown})


def prepare() -> None:
    """Lead a closed stream nowhere, and let each show in some way whatever is written to it."""
    encoding = os.environ.pop(_SHOWN_AS, None)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = getattr(sys, name)
        if stream is None:
            lead_nowhere(number)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(encoding=encoding, errors=FALLBACK)


def lead_nowhere(number: int) -> None:
    """Let a file descriptor take whatever comes, for nobody."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, number)
    if nowhere != number:
        os.close(nowhere)


@contextlib.contextmanager
def outlasting() -> Iterator[None]:
    """What is done inside goes on where nobody reads its output any more, or no disk takes it."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (Outlasting(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class Outlasting(io.TextIOBase):
    """A stream that is given up at its first error: what follows goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream."""
        return self._stream.encoding

    def fileno(self) -> int:
        """The stream's."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def write(self, text: str) -> int:
        """Write to the stream, or to nowhere."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        lead_nowhere(self.fileno())
        with contextlib.suppress(OSError):
            self._stream.flush()
        if sys.__stderr__ is not None and sys.__stderr__.fileno() != self.fileno():
            with contextlib.suppress(OSError):  # while a launch runs this is its log
                sys.__stderr__.write(f"no more output: {error.strerror}; the launch goes on\n")
                sys.__stderr__.flush()
