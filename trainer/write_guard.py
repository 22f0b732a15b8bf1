"""Keeps a user's code from writing into the store while it is described."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CHANGES = frozenset(
    {
        "open",
        "os.chmod",
        "os.link",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.symlink",
        "os.truncate",
        "os.utime",
        "sqlite3.connect",
    }
)
"""Python's audit events that change files; `open` does by its flags."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def forbid(folder: Path, data: Path | None = None) -> None:
    """From here on, let nothing in this process write below `folder`, but below `data`.

    Whatever tries gets a PermissionError before anything is written, so that its own line is to
    blame. What libraries write without Python's functions is not seen.
    """
    store, free = os.path.realpath(folder), os.path.realpath(data) if data else None

    def refuse(event: str, given: tuple[Any, ...]) -> None:
        if event not in _CHANGES or (event == "open" and not given[2] & _WRITING):
            return
        for path in _paths(given):
            if _within(path, store) and not (free and _within(path, free)):
                raise PermissionError(f"writes {path}, which is in the store; allowed: elsewhere")

    sys.addaudithook(refuse)


def _paths(given: tuple[Any, ...]) -> Iterator[str]:
    for value in given[:2]:
        if isinstance(value, str | bytes | os.PathLike):
            yield os.path.realpath(os.fsdecode(value))


def _within(path: str, folder: str) -> bool:
    return os.path.commonpath((path, folder)) == folder
