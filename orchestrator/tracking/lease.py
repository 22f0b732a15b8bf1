"""One forwarder for a sweep: a lease made of numbered folders, like a trial's attempts.

The exclusive `mkdir leases/<n>` is the claim; it is allowed once n-1 was released or its holder
is dead (liveness.py). No locks: they cannot be trusted over NFS.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from orchestrator.store import liveness
from orchestrator.store.folder import START
from orchestrator.store.store import Store
from trainer import files

RELEASED = "released"


class Lease:
    """The right to send a sweep's journals. Not held until `take` says so."""

    def __init__(self, store: Store, sweep: str) -> None:
        self._store = store
        self._sweep = sweep
        self._folder = store.forward_folder(sweep) / "leases"
        self._mine: Path | None = None
        self._heartbeat: liveness.Heartbeat | None = None
        self.follows_cleanly = False
        """Whether the holder before gave it back: none of its calls can arrive late."""

    def take(self) -> bool:
        """Whether this process holds the lease now, having taken it where it was free."""
        if self._mine is not None:
            if self._newest() == self._mine:
                return True
            self.release()  # it was taken for dead (paused for minutes): another has it now
        newest = self._newest()
        if newest is not None and self._is_held(newest):
            return False
        number = int(newest.name) + 1 if newest else 1
        mine = self._folder / str(number)
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            mine.mkdir()
        except FileExistsError:
            return False
        heartbeat = liveness.Heartbeat(mine)
        try:
            files.write_json(mine / START, liveness.this_process(self._sweep))
            heartbeat.__enter__()
        except OSError:  # a full disk: what nobody holds would keep others away until it is stale
            shutil.rmtree(mine, ignore_errors=True)
            raise
        self.follows_cleanly = newest is None or (newest / RELEASED).exists()
        self._mine, self._heartbeat = mine, heartbeat
        self._forget_before(number)
        return True

    @property
    def number(self) -> int:
        """Tells this holding of the lease from every other; 0 while it is not held."""
        return int(self._mine.name) if self._mine else 0

    def holder(self) -> str:
        """Host and process that holds it; empty where nobody does."""
        newest = self._newest()
        if newest is None or not self._is_held(newest):
            return ""
        start = liveness.read_start(newest)
        return start.owner if start else "a process that is just starting"

    def release(self) -> None:
        """Give it back; another may take it at once."""
        if self._mine is None or self._heartbeat is None:
            return
        self._heartbeat.__exit__(None, None, None)
        with contextlib.suppress(OSError):  # else it ends by itself once the heartbeat is old
            (self._mine / RELEASED).touch()
        self._mine = self._heartbeat = None

    def _is_held(self, folder: Path) -> bool:
        if (folder / RELEASED).exists():
            return False
        return liveness.alive(folder, self._store.now())

    def _newest(self) -> Path | None:
        try:
            numbers = [int(name) for name in os.listdir(self._folder) if name.isdigit()]
        except FileNotFoundError:
            return None
        return self._folder / str(max(numbers)) if numbers else None

    def _forget_before(self, number: int) -> None:
        for name in os.listdir(self._folder):
            if name.isdigit() and int(name) < number:
                shutil.rmtree(self._folder / name, ignore_errors=True)
