"""Sweep files that the command line writes, never over another file."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.sweep.sweep_file import NAME_PATTERN


def name_of(file: Path) -> str:
    """The name of the sweep in `file`. Raises UserError where it can be none."""
    if not re.fullmatch(NAME_PATTERN, file.stem):
        raise UserError(
            f"{file}: the file name becomes the sweep's: use only a-z, 0-9, '_' and '-'"
        )
    return file.stem


def write(file: Path, text: str) -> None:
    """Write `text` into a new file. Raises UserError."""
    try:
        with file.open("x", encoding="utf-8") as new_file:
            new_file.write(text)
    except FileExistsError:
        raise UserError(f"{file}: already exists; give another name") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from error
