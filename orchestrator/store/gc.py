"""What no sweep needs: found first, removed only when asked.

A finished result that any launch ever named is needed, and one that was pulled. So are the two
newest checkpoints of an unfinished trial, whichever attempts left them: the newest may be damaged.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.store.store import Store
from trainer import results

TEMPORARY_S = 3600.0
"""A temporary file this old was left by a process that died while writing."""
_CHECKPOINTS = (results.CHECKPOINT, results.CHECKPOINT_PREVIOUS)
_KEPT_ATTEMPTS = 2
_SCRATCH = (".ray-scratch-*", ".mlflow.*", ".transfer-*", ".check-*")


@dataclass(frozen=True)
class Garbage:
    """A file or folder that can go."""

    path: Path
    bytes: int
    reason: str


def find(store: Store) -> list[Garbage]:
    """Everything in the store that no sweep needs, in a stable order."""
    # Folders first, then launches: a launch is written down before its trials begin.
    trial_ids = sorted(store.trial_ids())
    resting = [i for i in trial_ids if store.state(i).state != "running"]
    unnamed = _unnamed(store, resting)
    found = [*_discarded(store), *_initial_weights(store), *_code(store), *_described(store)]
    if resting == trial_ids:  # else the scratch may be that of the launch which trains
        found.extend(_scratch(store))
    for trial_id in resting:
        if trial_id in unnamed:
            found.append(_garbage(store.trial_folder(trial_id), "a trial that no launch names"))
        else:
            found.extend(_in_trial(store, trial_id))
    return found


def remove(store: Store, garbage: list[Garbage]) -> int:
    """Delete what `find` found; returns the bytes that became free.

    A trial that a launch has named or begun in the meantime stays.
    """
    trials = [item.path.name for item in garbage if item.path.parent == store.trials_folder]
    unnamed = _unnamed(store, trials)
    freed = 0
    for item in garbage:
        path = item.path
        if path.parent == store.trials_folder:
            if path.name not in unnamed:
                continue
            try:
                path = store.discard(path.name)
            except UserError:
                continue
        store.remove(path)
        freed += item.bytes
    return freed


def _unnamed(store: Store, trial_ids: Collection[str]) -> set[str]:
    """Those that no launch names: none where a launch cannot be read, for it may name any.

    What `pull` has brought waits for a launch that names it.
    """
    unnamed = {trial_id for trial_id in trial_ids if not store.pulled(trial_id)}
    for name in store.sweeps() if unnamed else ():
        for number in store.launch_numbers(name):
            launch = store.launch(name, number)
            if launch is None:
                return set()
            unnamed -= {spec.trial_id for spec in launch.specs}
    return unnamed


def _discarded(store: Store) -> Iterator[Garbage]:
    folder = store.root / "discarded"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        yield _garbage(path, "results that were discarded")


def _scratch(store: Store) -> Iterator[Garbage]:
    if not store.root.is_dir():
        return
    found = (path for pattern in _SCRATCH for path in store.root.glob(pattern))
    for path in sorted(found):
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


def _code(store: Store) -> Iterator[Garbage]:
    """Of a user's own, that neither a launch nor a trial names; a young one may be about to be."""
    paths = sorted(store.code_folder.glob("*"))
    if not paths or any(store.unreadable_launches(name) for name in store.sweeps()):
        return
    specs = [store.spec(trial_id) for trial_id in store.trial_ids()]
    if None in specs:
        return  # a damaged spec: it may name any
    launched = (spec for name in store.sweeps() for spec in store.launched(name))
    named = {spec.code_sha256 for spec in (*specs, *launched) if spec}
    for path in paths:
        if path.stem not in named and _age(store, path) > TEMPORARY_S:
            yield _garbage(path, "code that no launch and no trial names")


def _described(store: Store) -> Iterator[Garbage]:
    """What was said of a user's code: whoever needs it asks again."""
    for path in sorted(store.described_folder.glob("*")):
        if _age(store, path) > TEMPORARY_S:
            yield _garbage(path, "what was said of code of the user's own")


def _in_trial(store: Store, trial_id: str) -> Iterator[Garbage]:
    folder = store.trial_folder(trial_id)
    numbers = store.attempts(trial_id)
    left = {n: _checkpoints(store.attempt_folder(trial_id, n)) for n in numbers}
    # An attempt that died in its first epoch left none: the one that it began from is needed.
    kept = [] if store.result(trial_id) else [n for n in numbers if left[n]][-_KEPT_ATTEMPTS:]
    for number in numbers:
        for path in left[number] if number not in kept else ():
            yield _garbage(path, "a checkpoint that nothing continues from")
    for path in sorted(folder.glob("result.damaged-*")):
        yield _garbage(path, "a damaged result that was replaced")
    for path in sorted(folder.rglob(".*")):
        if path.is_file() and _age(store, path) > TEMPORARY_S:
            yield _garbage(path, "a temporary file of a process that died")


def _checkpoints(attempt: Path) -> list[Path]:
    return [attempt / name for name in _CHECKPOINTS if (attempt / name).exists()]


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
