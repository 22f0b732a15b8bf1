"""What no sweep needs: found first, removed only when asked.

A finished result that any launch ever named is needed. So are the checkpoints of an unfinished
trial's two newest attempts: the newest may be damaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.store import Store
from trainer import results
from trainer.spec import TrialSpec

TEMPORARY_S = 3600.0
"""A temporary file this old was left by a process that died while writing."""
_CHECKPOINTS = (results.CHECKPOINT, results.CHECKPOINT_PREVIOUS)
_KEPT_ATTEMPTS = 2


@dataclass(frozen=True)
class Garbage:
    """A file or folder that can go."""

    path: Path
    bytes: int
    reason: str


def find(store: Store) -> list[Garbage]:
    """Everything in the store that no sweep needs, in a stable order."""
    found = [*_discarded(store), *_scratch(store), *_initial_weights(store)]
    known = {spec.trial_id for spec in _launched(store)}
    for trial_id in sorted(store.trial_ids()):
        if store.state(trial_id).state == "running":
            continue
        if trial_id not in known:
            found.append(_garbage(store.trial_folder(trial_id), "a trial that no launch names"))
        else:
            found.extend(_in_trial(store, trial_id))
    return found


def remove(store: Store, garbage: list[Garbage]) -> int:
    """Delete what `find` found; returns the bytes that became free."""
    for item in garbage:
        store.remove(item.path)
    return sum(item.bytes for item in garbage)


def _launched(store: Store) -> Iterator[TrialSpec]:
    for name in store.sweeps():
        for number in store.launch_numbers(name):
            launch = store.launch(name, number)
            yield from launch.specs if launch else ()


def _discarded(store: Store) -> Iterator[Garbage]:
    folder = store.root / "discarded"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        yield _garbage(path, "results that were discarded")


def _scratch(store: Store) -> Iterator[Garbage]:
    if not store.root.is_dir():
        return
    for path in sorted(store.root.glob(".ray-scratch-*")):
        if _age(store, path) > TEMPORARY_S:
            yield _garbage(path, "scratch of a launch that was killed")


def _initial_weights(store: Store) -> Iterator[Garbage]:
    """Copies to which no attempt links any more; young ones may be about to be linked."""
    for path in sorted(store.initial_weights_folder.glob("*")):
        if _age(store, path) <= TEMPORARY_S:
            continue
        if path.name.startswith("."):
            yield _garbage(path, "a temporary file of a process that died")
        elif path.stat().st_nlink == 1:
            yield _garbage(path, "initial weights that no trial began with")


def _in_trial(store: Store, trial_id: str) -> Iterator[Garbage]:
    folder = store.trial_folder(trial_id)
    numbers = store.attempts(trial_id)
    kept = [] if store.result(trial_id) else numbers[-_KEPT_ATTEMPTS:]
    for number in numbers:
        for name in _CHECKPOINTS:
            path = store.attempt_folder(trial_id, number) / name
            if number not in kept and path.exists():
                yield _garbage(path, "a checkpoint that nothing continues from")
    for path in sorted(folder.glob("result.damaged-*")):
        yield _garbage(path, "a damaged result that was replaced")
    for path in sorted(folder.rglob(".*")):
        if path.is_file() and _age(store, path) > TEMPORARY_S:
            yield _garbage(path, "a temporary file of a process that died")


def _age(store: Store, path: Path) -> float:
    return store.server_time() - path.stat().st_mtime


def _garbage(path: Path, reason: str) -> Garbage:
    if path.is_file():
        return Garbage(path, path.stat().st_size, reason)
    sizes = (
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(path)
        for name in names
        if name != results.INITIAL  # a link
    )
    return Garbage(path, sum(sizes), reason)
