"""`bnsweep gc`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options, screen
from orchestrator.settings import load as load_settings
from orchestrator.store import gc as garbage
from orchestrator.store.store import Store

EXAMPLES = ("bnsweep gc", "bnsweep gc -y")


def gc(
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Remove what was found.")] = False,
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
) -> None:
    """Find what no sweep needs any more; only -y removes it."""
    store = Store(load_settings(store_folder).store)
    items = garbage.find(store)
    freed = garbage.remove(store, items) if yes else 0
    if as_json:
        listed = [{"path": str(g.path), "bytes": g.bytes, "reason": g.reason} for g in items]
        screen.show_json({"found": listed, "removed": yes, "bytes_freed": freed})
        return
    rows = [[screen.size(g.bytes) + "B", g.reason, g.path.relative_to(store.root)] for g in items]
    if rows:
        screen.show(screen.table(["size", "why", "path"], rows, right=["size"]), "")
    total = sum(g.bytes for g in items)
    screen.show(f"{len(items)} items, {screen.size(total)}B{' removed' if yes else ''}")
    if items and not yes:
        screen.say("to remove them: bnsweep gc -y", "dim")
