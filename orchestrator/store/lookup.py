"""From what a person types to a sweep or a trial of the store."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.store.records import Launch, stands_for
from orchestrator.store.store import Store

MAX_CANDIDATES = 5
"""A message names no more than this."""


def launch_of(store: Store, name: str) -> Launch:
    """The newest launch of a sweep. Raises UserError for a name that the store does not have."""
    known = store.sweeps()
    launch = store.newest_launch(name) if name in known else None
    if launch is None and (damaged := store.unreadable_launches(name) if name in known else []):
        raise UserError(
            f"sweep {name}: {store.root / damaged[-1]} is damaged; launch its sweep file again: "
            "what is finished stays"
        )
    if launch is None:
        raise UserError(f"sweep {name}: not in {store.root}{_near(name, known)}")
    return launch


def data_of(launch: Launch) -> Path | None:
    """The data folder of the launch, where this machine has it and this user may read it."""
    if launch.data and os.access(launch.data, os.R_OK | os.X_OK):
        return Path(launch.data)
    return None


def sweep_names(store: Store, name: str) -> list[str]:
    """The sweep of that name, or all sweeps for "". Raises UserError as `launch_of` does."""
    names = [name] if name else store.sweeps()
    for each in names:
        launch_of(store, each)
    return names


def trial_id(store: Store, typed: str) -> str:
    """The one trial whose id, or the last part of it (the hash), begins with `typed`.

    Raises UserError for none and for several.
    """
    known = set(store.trial_ids())
    for launch in store.newest_launches():  # trials that nothing has begun yet have no folder
        known.update(spec.trial_id for spec in launch.specs)
    if typed in known:
        return typed
    matches = sorted(t for t in known if stands_for(typed, t))
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise UserError(f"trial {typed}: not in {store.root}{_near(typed, known)}")
    more = f" and {len(matches) - MAX_CANDIDATES} more" if len(matches) > MAX_CANDIDATES else ""
    raise UserError(
        f"trial {typed}: is ambiguous, it matches {len(matches)} trials: "
        f"{', '.join(matches[:MAX_CANDIDATES])}{more}; type more characters"
    )


def sweeps_of(store: Store, trial: str) -> list[str]:
    """Names of the sweeps whose newest launch has the trial."""
    return [
        launch.sweep.name
        for launch in store.newest_launches()
        if any(spec.trial_id == trial for spec in launch.specs)
    ]


def _near(typed: str, known: set[str] | list[str]) -> str:
    close = difflib.get_close_matches(typed, sorted(known), n=1)
    if close:
        return f"; did you mean {close[0]}?"
    if not known:
        return ", which has none; launch a sweep first, or say where results are with --store"
    names = sorted(known)[:MAX_CANDIDATES]
    return f"; there: {', '.join(names)}{', …' if len(known) > MAX_CANDIDATES else ''}"
