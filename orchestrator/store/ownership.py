"""Who owns a trial, and who sends a sweep to the tracker: numbered folders as claims, no locks.

A trial's attempts, and the leases of a sweep's forwarder, are folders 1, 2, 3 … side by side. The
exclusive `mkdir` of the next one is the claim, and its number fences off those before. It is
allowed when the newest one has ended, when its process is provably gone, or when its heartbeat is
stale (liveness.py). Locks cannot be trusted over NFS; `mkdir` and `link` can.

An attempt writes only into its own folder, so that a zombie writes where nobody reads; its result
is linked into place once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.store import liveness
from orchestrator.store.failures import Failure
from orchestrator.store.folder import ATTEMPTS, ERROR, START, StoreFolder, numbers
from orchestrator.store.liveness import ResumedFrom, Start
from trainer import files, results
from trainer.spec import TrialSpec

_RESERVE = ".reserve"
"""Holds the disk space that error.json will need: a full disk must be able to say so."""
_RESERVE_BYTES = 32_768

# -- the algorithm ---------------------------------------------------------------------------------


def take(folder: Path, number: int, looked_at: os.stat_result) -> Path:
    """Make `folder/<number>`: that is the claim. `looked_at`: the stat of the folder's parent.

    Raises FileExistsError where another process has the number, or where the parent is no longer
    the one that was looked at: a trial discarded meanwhile, and perhaps begun anew.
    """
    claimed = folder / str(number)
    try:
        folder.mkdir(exist_ok=True)
        claimed.mkdir()
        if folder.parent.stat().st_ino == looked_at.st_ino:
            return claimed
        claimed.rmdir()
    except FileNotFoundError:
        pass
    raise FileExistsError


def take_next(
    folder: Path,
    looked_at: os.stat_result,
    owner: Start,
    clock: Callable[[], float],
    *,
    is_done: Callable[[], bool] = lambda: False,
    prepare: Callable[[Path], object] = lambda _: None,
) -> Path | None:
    """Claim the next number in `folder` for `owner`. None where the process with the newest claim
    may be alive, where another one was first, or where nothing is left to do.

    `clock`: the file server's, in seconds. `is_done` is asked before the claim, and again after it.
    `prepare` writes what the claim needs beside its start.json; where either fails, the claim is
    taken back: one that does not say who made it would keep all others away until it is stale.
    """
    taken = numbers(folder)
    if is_done() or (taken and liveness.alive(folder / str(taken[-1]), clock())):
        return None
    try:
        claimed = take(folder, max(taken, default=0) + 1, looked_at)
    except FileExistsError:
        return None
    try:
        if is_done():  # while we looked
            claimed.rmdir()
            return None
        files.write_json(claimed / START, owner)
        prepare(claimed)
    except OSError:
        shutil.rmtree(claimed, ignore_errors=True)
        raise
    return claimed


# -- attempts at a trial ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """An attempt that this process owns."""

    trial_id: str
    number: int
    folder: Path
    start: Start


def claim(store: StoreFolder, spec: TrialSpec, owner: Start) -> Claim | None:
    """Take the trial, or None where it is finished or another living attempt has it."""
    trial_id = spec.trial_id
    folder = store.trial_folder(trial_id)
    attempts = folder / ATTEMPTS
    attempts.mkdir(parents=True, exist_ok=True)
    looked_at = folder.stat()
    if not (folder / results.SPEC).exists():
        files.write_json(folder / results.SPEC, spec)
    attempt = take_next(
        attempts,
        looked_at,
        owner,
        store.now,
        is_done=lambda: finished_or_published(store, trial_id),
        prepare=lambda attempt: (attempt / _RESERVE).write_bytes(bytes(_RESERVE_BYTES)),
    )
    return Claim(trial_id, int(attempt.name), attempt, owner) if attempt else None


def finished_or_published(store: StoreFolder, trial_id: str) -> bool:
    """Whether there is a whole result, a damaged one set aside; one whose attempt died before
    linking it is linked now.

    Raises OSError where it cannot be read now: what nobody can read may still be whole.
    """
    target = store.trial_folder(trial_id) / results.RESULT
    if os.path.lexists(target):
        if _readable_result(target, trial_id):
            return True
        os.replace(target, target.with_suffix(f".damaged-{time.time_ns()}"))
    for number in reversed(store.attempts(trial_id)):
        attempt = store.attempt_folder(trial_id, number)
        if _readable_result(attempt / results.RESULT, trial_id):
            files.link_once(attempt / results.RESULT, target)
            return True
    return False


def _readable_result(path: Path, trial_id: str) -> bool:
    """Whether the trial's result is there and whole, as a look at its state finds it."""
    try:
        return results.parse(files.read(path)).trial_id == trial_id
    except (FileNotFoundError, files.NotAFile, ValueError):
        return False


def resumed(claim: Claim, resumed_from: ResumedFrom | None) -> None:
    """Record in start.json where the attempt goes on from, before its first journal line."""
    start = claim.start.model_copy(update={"resumed_from": resumed_from})
    files.write_json(claim.folder / START, start)


def superseded(store: StoreFolder, claim: Claim) -> bool:
    """Whether the claim was taken over: a later attempt exists, another one has finished the
    trial, or the folder is gone, or is another attempt's, as when the trial was discarded."""
    newer = store.attempt_folder(claim.trial_id, claim.number + 1)
    if newer.exists() or (store.trial_folder(claim.trial_id) / results.RESULT).exists():
        return True
    start = liveness.read_start(claim.folder)
    if start is None:
        return not claim.folder.exists()
    return start.model_copy(update={"resumed_from": None}) != claim.start


def publish(store: StoreFolder, claim: Claim) -> bool:
    """Link the attempt's result into place, once. False where another attempt was first.

    Checkpoints go: nothing continues from them any more, and what trained is in the artifacts.
    """
    target = store.trial_folder(claim.trial_id) / results.RESULT
    first = files.link_once(claim.folder / results.RESULT, target)
    (claim.folder / _RESERVE).unlink(missing_ok=True)
    for number in store.attempts(claim.trial_id):
        for name in (results.CHECKPOINT, results.CHECKPOINT_PREVIOUS):
            if number <= claim.number:
                (store.attempt_folder(claim.trial_id, number) / name).unlink(missing_ok=True)
    return first


def fail(claim: Claim, failure: Failure) -> None:
    """Record that the attempt ended without a result, on a full disk in the space kept for that."""
    (claim.folder / _RESERVE).unlink(missing_ok=True)
    files.write_json(claim.folder / ERROR, failure)


def give_up_lost(store: StoreFolder, trial_id: str, failure: Failure) -> None:
    """Record that a trial whose workers keep dying is not tried again (its owner is gone)."""
    files.write_json(store.attempt_folder(trial_id, failure.attempt) / ERROR, failure)


# -- the forwarder's lease -------------------------------------------------------------------------


class Lease:
    """The right to send a sweep's journals to the tracker. Not held until `take` says so."""

    def __init__(self, store: StoreFolder, sweep: str) -> None:
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
        self._folder.mkdir(parents=True, exist_ok=True)
        self._mine = take_next(
            self._folder,
            self._folder.parent.stat(),
            liveness.this_process(self._sweep),
            self._store.now,
            prepare=self._begin_heartbeat,
        )
        if self._mine is None:
            return False
        before = self._folder / str(self.number - 1)
        self.follows_cleanly = self.number == 1 or (before / liveness.RELEASED).exists()
        for number in numbers(self._folder):
            if number < self.number:
                shutil.rmtree(self._folder / str(number), ignore_errors=True)
        return True

    @property
    def number(self) -> int:
        """Tells this holding of the lease from every other; 0 while it is not held."""
        return int(self._mine.name) if self._mine else 0

    def holder(self) -> str:
        """Host and process that holds it; empty where nobody does."""
        newest = self._newest()
        if newest is None or not liveness.alive(newest, self._store.now()):
            return ""
        start = liveness.read_start(newest)
        return start.owner if start else "a process that is just starting"

    def release(self) -> None:
        """Give it back; another may take it at once."""
        if self._mine is None or self._heartbeat is None:
            return
        self._heartbeat.__exit__(None, None, None)
        with contextlib.suppress(OSError):  # else it ends by itself once the heartbeat is old
            (self._mine / liveness.RELEASED).touch()
        self._mine = self._heartbeat = None

    def _begin_heartbeat(self, lease: Path) -> None:
        heartbeat = liveness.Heartbeat(lease)
        heartbeat.__enter__()
        self._heartbeat = heartbeat

    def _newest(self) -> Path | None:
        taken = numbers(self._folder)
        return self._folder / str(taken[-1]) if taken else None
