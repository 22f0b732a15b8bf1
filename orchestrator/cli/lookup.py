"""From what a person types to a sweep or a trial of the store."""

from __future__ import annotations

import difflib

from orchestrator.errors import UserError
from orchestrator.store.records import Launch, stands_for
from orchestrator.store.store import Store

SHOWN = 5
"""So many candidates are named in a message."""


def launch_of(store: Store, name: str) -> Launch:
    """The newest launch of a sweep. Raises UserError for a name that the store does not have."""
    known = store.sweeps()
    launch = store.newest_launch(name) if name in known else None
    if launch is None:
        raise UserError(f"sweep {name}: not in {store.root}{_near(name, known)}")
    return launch


def trial_id(store: Store, typed: str) -> str:
    """The one trial whose id, or the last part of it (the hash), begins with `typed`."""
    known = set(store.trial_ids())
    for name in store.sweeps():  # trials that nothing has begun yet have no folder
        launch = store.newest_launch(name)
        known.update(spec.trial_id for spec in (launch.specs if launch else ()))
    if typed in known:
        return typed
    found = sorted(t for t in known if stands_for(typed, t))
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"trial {typed}: not in {store.root}{_near(typed, known)}")
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    raise UserError(
        f"trial {typed}: means {len(found)} trials: {', '.join(found[:SHOWN])}{more}; "
        "type more of it"
    )


def sweeps_of(store: Store, trial: str) -> list[str]:
    """Names of the sweeps whose newest launch has the trial."""
    found = []
    for name in store.sweeps():
        launch = store.newest_launch(name)
        if launch and any(spec.trial_id == trial for spec in launch.specs):
            found.append(name)
    return found


def _near(typed: str, known: set[str] | list[str]) -> str:
    close = difflib.get_close_matches(typed, sorted(known), n=1)
    if close:
        return f"; did you mean {close[0]}?"
    if not known:
        return ", which has none; launch a sweep first, or say where results lie with --store"
    listed = sorted(known)[:SHOWN]
    return f"; there: {', '.join(listed)}{', …' if len(known) > SHOWN else ''}"
