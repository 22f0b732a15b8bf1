"""Where standard output and error lead while Ray and MLflow are at work."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Append all that this process and its children write to stdout and stderr to a file.

    At the level of file descriptors, since most of it comes from outside Python; whoever wants to
    show something meanwhile holds a duplicate of the terminal.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    _flush()
    terminal = [(number, os.dup(number)) for number in (1, 2)]
    try:
        for number, _ in terminal:
            os.dup2(target, number)
        yield
    finally:
        _flush()
        for number, duplicate in terminal:
            os.dup2(duplicate, number)
            os.close(duplicate)
        os.close(target)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
