"""`bnsweep init`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import screen
from orchestrator.errors import UserError
from orchestrator.sweep import starter
from orchestrator.sweep.sweep_file import NAME_PATTERN

EXAMPLES = ("bnsweep init", "bnsweep init sweeps/width.yaml")


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path(
        "my_sweep.yaml"
    ),
) -> None:
    """Write a commented sweep file to start from; it runs as it is, in a minute."""
    if not re.fullmatch(NAME_PATTERN, file.stem):
        raise UserError(
            f"{file}: the file name becomes the sweep's: use only a-z, 0-9, '_' and '-'"
        )
    try:
        with file.open("x", encoding="utf-8") as new_file:
            new_file.write(starter.text(file.stem))
    except FileExistsError:
        raise UserError(f"{file}: already exists; give another name") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from error
    screen.show(f"{file}: written")
    screen.say(f"next: bnsweep plan {file}", "dim")
