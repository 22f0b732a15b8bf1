"""The embedded database of a store that has moved: MLflow keeps the places of artifacts in full."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from urllib.parse import unquote_to_bytes

_BUSY_S = 5.0
_PLACES = (("experiments", "artifact_location"), ("runs", "artifact_uri"))


def follow(database: Path, artifact_root: Path) -> None:
    """Let what lay in the `mlartifacts` of a store that was here under another path lie in this
    one's: a moved store's artifacts moved with it, and a copy has its own.

    Nothing happens where the database is busy; whoever looks next does it.
    """
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(database, timeout=_BUSY_S)) as connection,
        connection,
    ):
        here = artifact_root.as_uri()
        for there in _other_roots(connection, artifact_root):
            for table, column in _PLACES:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                    f" WHERE substr({column}, 1, ?) = ?",
                    (here, len(there) + 1, len(there) + 1, f"{there}/"),
                )


def _other_roots(connection: sqlite3.Connection, artifact_root: Path) -> set[str]:
    """Where experiments lie that this store has made elsewhere; not by another name of the same
    folder, as mounts and links give it."""
    locations = connection.execute("SELECT artifact_location FROM experiments").fetchall()
    roots = {str(location).rpartition("/")[0] for (location,) in locations}
    return {
        root
        for root in roots
        if root.startswith("file:///")
        and root.endswith(f"/{artifact_root.name}")
        and not _same_folder(root, artifact_root)
    }


def _same_folder(root: str, artifact_root: Path) -> bool:
    path = Path(os.fsdecode(unquote_to_bytes(root.removeprefix("file://"))))
    with contextlib.suppress(OSError):
        return path.samefile(artifact_root)
    return path == artifact_root
