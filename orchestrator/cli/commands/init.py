"""`bnsweep init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import new_sweep, screen
from orchestrator.sweep import starter

EXAMPLES = ("bnsweep init", "bnsweep init sweeps/width.yaml")


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path(
        "my_sweep.yaml"
    ),
) -> None:
    """Write a commented sweep file to start from; it runs as it is, in a minute."""
    new_sweep.write(file, starter.text(new_sweep.name_of(file)))
    screen.show(f"{file}: written")
    screen.say(f"next: bnsweep plan {file}", "dim")
