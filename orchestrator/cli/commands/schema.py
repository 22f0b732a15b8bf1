"""`bnsweep schema`."""

from __future__ import annotations

from orchestrator.cli import screen
from orchestrator.sweep.schema import document

EXAMPLES = ("bnsweep schema", "bnsweep schema > sweep.schema.json")


def schema() -> None:
    """Print the JSON schema of sweep files: editors complete and check with it."""
    screen.show_json(document())
