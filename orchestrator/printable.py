"""Text from anywhere, made fit for a terminal: nothing in it moves the cursor, sets a title, hides
or turns around what stands beside it."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
_RESET = "\x1b[0m"


def printable(text: str, *, colours: bool = False) -> str:
    """The text with every character that shows nothing by itself spelled out, as in `\\x1b`:
    control characters, zero-width ones, those that change a line's direction, lone surrogates.

    Tabs and the ends of lines stay; with `colours` those do too, and end with the text.
    """
    if colours and _COLOUR.search(text):
        parts = _COLOUR.split(text)
        parts[::2] = map(printable, parts[::2])
        return "".join(parts) + ("" if parts[-2] in (_RESET, "\x1b[m") else _RESET)
    return "\n".join(map(_line, text.split("\n")))


def _line(line: str) -> str:
    if line.isprintable():
        return line
    end = "\r" if line.endswith("\r") else ""
    shown = (c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in line.removesuffix("\r"))
    return "".join(shown) + end
