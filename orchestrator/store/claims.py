"""Who owns a trial: attempt folders as claims, without locks (DESIGN §5).

The exclusive `mkdir attempts/<n>` is the claim and n the fencing number. An attempt writes only
into its own folder, so that a zombie writes where nobody reads; its result is linked into place
once.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from orchestrator.store import liveness
from orchestrator.store.folder import ATTEMPTS, ERROR, START
from orchestrator.store.liveness import ResumedFrom, Start
from orchestrator.store.store import Store
from trainer import files, results
from trainer.results import Failure, Result
from trainer.spec import TrialSpec

_ROOM = ".room"
"""Holds the disk space that error.json will need: a full disk must be able to say so."""
_ROOM_BYTES = 32_768


@dataclass(frozen=True)
class Claim:
    """An attempt that this process owns."""

    trial_id: str
    number: int
    folder: Path
    start: Start


def claim(store: Store, spec: TrialSpec, owner: Start) -> Claim | None:
    """Take the trial, or None where it is finished or another living attempt has it."""
    folder = store.trial_folder(spec.trial_id)
    (folder / ATTEMPTS).mkdir(parents=True, exist_ok=True)
    looked_at = folder.stat()
    if not (folder / results.SPEC).exists():
        files.write_json(folder / results.SPEC, spec)
    numbers = store.attempts(spec.trial_id)
    if _finished_or_published(store, spec.trial_id, numbers):
        return None
    if numbers:
        newest = store.attempt_folder(spec.trial_id, numbers[-1])
        if liveness.alive(newest, store.now()):
            return None
    number = max(numbers, default=0) + 1
    try:
        attempt = store.take_attempt(spec.trial_id, number, looked_at)
    except FileExistsError:
        return None
    try:
        if _finished_or_published(store, spec.trial_id, numbers):  # while we looked
            attempt.rmdir()
            return None
        files.write_json(attempt / START, owner)
        (attempt / _ROOM).write_bytes(bytes(_ROOM_BYTES))
    except OSError:  # a claim that cannot say who made it would hold the trial until it is stale
        shutil.rmtree(attempt, ignore_errors=True)
        raise
    return Claim(spec.trial_id, number, attempt, owner)


def _finished_or_published(store: Store, trial_id: str, numbers: list[int]) -> bool:
    """Whether there is a result; one whose attempt died before linking it is linked now.

    Raises OSError where it cannot be read now: what nobody can read may still be whole.
    """
    target = store.trial_folder(trial_id) / results.RESULT
    if target.exists():
        if _readable_result(target):
            return True
        os.replace(target, target.with_suffix(f".damaged-{time.time_ns()}"))
    for number in reversed(numbers):
        attempt = store.attempt_folder(trial_id, number)
        if _readable_result(attempt / results.RESULT):
            files.link_once(attempt / results.RESULT, target)
            return True
    return False


def resumed(claim: Claim, resumed_from: ResumedFrom | None) -> None:
    """Record in start.json where the attempt goes on from, before its first journal line."""
    start = claim.start.model_copy(update={"resumed_from": resumed_from})
    files.write_json(claim.folder / START, start)


def superseded(store: Store, claim: Claim) -> bool:
    """Whether the claim was taken over: a later attempt exists, another one has finished the
    trial, or the folder is gone, or is another attempt's, as when the trial was discarded."""
    newer = store.attempt_folder(claim.trial_id, claim.number + 1)
    if newer.exists() or (store.trial_folder(claim.trial_id) / results.RESULT).exists():
        return True
    start = liveness.read_start(claim.folder)
    if start is None:
        return not claim.folder.exists()
    return start.model_copy(update={"resumed_from": None}) != claim.start


def publish(store: Store, claim: Claim) -> bool:
    """Link the attempt's result into place, once. False where another attempt was first.

    Checkpoints go: nothing continues from them any more, and what trained is in the artifacts.
    """
    target = store.trial_folder(claim.trial_id) / results.RESULT
    first = files.link_once(claim.folder / results.RESULT, target)
    (claim.folder / _ROOM).unlink(missing_ok=True)
    for number in store.attempts(claim.trial_id):
        for name in (results.CHECKPOINT, results.CHECKPOINT_PREVIOUS):
            if number <= claim.number:
                (store.attempt_folder(claim.trial_id, number) / name).unlink(missing_ok=True)
    return first


def fail(claim: Claim, failure: Failure) -> None:
    """Record that the attempt ended without a result, on a full disk in the room kept for that."""
    (claim.folder / _ROOM).unlink(missing_ok=True)
    files.write_json(claim.folder / ERROR, failure)


def give_up_lost(store: Store, trial_id: str, failure: Failure) -> None:
    """Record that a trial whose workers keep dying is not tried again (its owner is gone)."""
    files.write_json(store.attempt_folder(trial_id, failure.attempt) / ERROR, failure)


def _readable_result(path: Path) -> bool:
    try:
        Result.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return False
    return True
