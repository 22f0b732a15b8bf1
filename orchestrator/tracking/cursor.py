"""`forward/<trial_id>.json`: how far the tracker has what a trial's journal has.

Written before anything is sent (`claimed`: what may have arrived) and after (`sent`: what has), so
that after a crash between the two it is still known whether what may be in the tracker is a prefix
of the journal.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from orchestrator.store.store import Store
from trainer import files
from trainer.journal import Record


class Cursor(BaseModel):
    """How much of a trial the tracker `tracker` has."""

    version: int = 1
    tracker: str = ""
    """The experiment's key: nothing here is true of another tracker."""
    run_id: str = ""
    claimed: int = 0
    """Records that may have arrived."""
    digest: str = ""
    """Of the records [0, claimed)."""
    sent: int = 0
    """Records that have arrived."""
    described: bool = False
    """Params have arrived."""
    tags: dict[str, str] = Field(default_factory=dict)
    status: str = ""
    artifacts: dict[str, str] = Field(default_factory=dict)
    """Path in the run, and size and time of the file that was sent."""
    doubt: bool = False
    """A call failed: look the run up before the next one."""
    lost_create: bool = False
    """A create failed that may arrive late all the same: look for a second run at the end."""
    settled: str = ""
    """All was sent of a trial folder with this mark."""

    def fits(self, records: Sequence[Record]) -> bool:
        """Whether all that may be in the tracker is a prefix of the journal."""
        return self.claimed <= len(records) and self.digest == digest(records[: self.claimed])


def digest(records: Sequence[Record]) -> str:
    """sha256 of what a tracker gets of the records; empty for none."""
    if not records:
        return ""
    content = [[r.epoch, r.time_ms, sorted(r.metrics.items())] for r in records]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def path_of(store: Store, sweep: str, trial_id: str) -> Path:
    """Where the cursor lies."""
    return store.forward_folder(sweep) / f"{trial_id}.json"


def load(store: Store, sweep: str, trial_id: str, tracker: str | None) -> Cursor:
    """The cursor; a fresh one where it is missing, damaged or of another tracker (None: any)."""
    try:
        cursor = Cursor.model_validate_json(path_of(store, sweep, trial_id).read_bytes())
    except (FileNotFoundError, ValidationError):
        cursor = Cursor()
    if tracker in (None, cursor.tracker):
        return cursor
    return Cursor(tracker=tracker or "")


def save(store: Store, sweep: str, trial_id: str, cursor: Cursor, *, durable: bool) -> None:
    """Write the cursor. Durably where it claims what is about to be sent; a note of what has
    arrived may be lost with the power: then it is sent again, and stored once."""
    path = path_of(store, sweep, trial_id)
    if durable:
        files.write_json(path, cursor)
        return
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(cursor.model_dump_json())
    os.replace(temporary, path)


def recheck_path(store: Store, sweep: str, trial_id: str) -> Path:
    """A file that `audit` leaves where a run differs, for `sync` to compare every point."""
    return store.forward_folder(sweep) / f"{trial_id}.recheck"
