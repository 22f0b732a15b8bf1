"""`bnsweep help`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import app, screen
from orchestrator.cli.verbs import VERBS, as_called
from orchestrator.errors import UserError

EXAMPLES = ("bnsweep help agents", "bnsweep help launch")
AGENTS = Path(__file__).parents[1] / "AGENTS.md"
TOPICS = ("agents", *VERBS)


def help(
    topic: Annotated[
        str,
        typer.Argument(
            metavar="TOPIC",
            help="`agents`, or a verb.",
            autocompletion=lambda incomplete: [t for t in TOPICS if t.startswith(incomplete)],
        ),
    ] = "",
) -> int:
    """Show how scripts and assistants drive bnsweep (`agents`), or the help of a verb."""
    if topic == "agents":
        screen.write(as_called(AGENTS.read_text(encoding="utf-8")))
        return 0
    if topic and topic not in VERBS:
        raise UserError(f"help {topic}: no such topic; allowed: agents, or a verb (bnsweep --help)")
    return app.run([topic, "--help"] if topic else ["--help"])
