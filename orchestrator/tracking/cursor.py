"""`forward/<trial_id>.json`: how far the tracker has what a trial's journal has.

Written before anything is sent (`claimed`: what may have arrived) and after (`sent`: what has), so
that after a crash between the two it is still known whether what may be in the tracker is a prefix
of the journal.

Four fields are a state, and mirror.py the machine that goes from one to the next:

| run_id | doubt | settled     | the tracker …                     | what is done next             |
|--------|-------|-------------|-----------------------------------|-------------------------------|
| none   | no    | no          | has nothing of the trial          | create the run; before that   |
|        |       |             |                                   | look it up, unless a listing  |
|        |       |             |                                   | said that there is none       |
| none   | yes   | any         | may have a run that is not known: | look it up; adopt the oldest  |
|        |       |             | a call failed                     | and remove others, or create  |
| known  | no    | no          | has `sent` records of the run and | send from `sent` on, then     |
|        |       |             | perhaps those up to `claimed`     | files and state; settle       |
| known  | yes   | any         | may have lost the run, or has     | look it up; go on with it,    |
|        |       |             | another one beside it             | restore it, or build it anew  |
| any    | no    | fingerprint | has all, or there is nothing to   | nothing, until the folder's   |
|        |       |             | send                              | fingerprint changes           |

Any error sets `doubt`; a lookup that succeeds clears it. `lost_create` outlives that: a create
without an answer may arrive late, so that the end of the trial looks once more for a second run.
`described` says that the params have arrived, which are sent with the first batch of records, and
`counted` and `data_named` what is sent once the trial has finished.
Where the journal no longer begins with what is claimed (`fits`), the run is removed, and the cursor
begins as in the first row.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

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
    counted: bool = False
    """The counts of parameters have arrived, which the result says."""
    data_named: bool = False
    """The data set has, which the result says too."""
    tags: dict[str, str] = Field(default_factory=dict)
    status: str = ""
    artifacts: dict[str, str] = Field(default_factory=dict)
    """Path in the run, and size and time of the file that was sent."""
    doubt: bool = False
    """A call failed: look the run up before the next one."""
    lost_create: bool = False
    """A create failed that may arrive late all the same: look for a second run at the end."""
    settled: str = ""
    """All was sent of a trial folder with this fingerprint."""

    @classmethod
    def load(cls, store: Store, sweep: str, trial_id: str, tracker: str | None) -> Self:
        """The trial's cursor; a fresh one where it is missing, damaged or of another tracker
        (None: any)."""
        try:
            cursor = cls.model_validate_json(files.read(path_of(store, sweep, trial_id)))
        except (FileNotFoundError, files.NotAFile, ValidationError):
            cursor = cls()
        return cursor if tracker in (None, cursor.tracker) else cls(tracker=tracker or "")

    def save(self, store: Store, sweep: str, trial_id: str, *, durable: bool) -> None:
        """Write it. Durably where it claims what is about to be sent; a note of what has arrived
        may be lost with the power: then it is sent again, and stored once."""
        path = path_of(store, sweep, trial_id)
        if durable:
            files.write_json(path, self)
            return
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(self.model_dump_json(), encoding="utf-8")
        os.replace(temporary, path)

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


def recheck_path(store: Store, sweep: str, trial_id: str) -> Path:
    """A file that `audit` leaves where a run differs, for `sync` to compare every point."""
    return store.forward_folder(sweep) / f"{trial_id}.recheck"
