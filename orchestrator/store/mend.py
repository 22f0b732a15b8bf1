"""Puts right what a trial's result or a launch still holds. Trains nothing and loses nothing.

What cannot be read as what it should be stays beside it under another name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.store import liveness, ownership
from orchestrator.store.store import Store
from trainer import files, journal, results
from trainer.results import Result
from trainer.spec import TrialSpec


def mend(store: Store, specs: Sequence[TrialSpec]) -> list[str]:
    """Put right what is damaged of these trials; returns a line for each thing that was.

    A damaged result is set aside: an attempt that still holds it whole gives it back, else `resume`
    trains the trial again. Raises OSError where the store cannot be written.
    """
    begun = (spec for spec in specs if store.trial_folder(spec.trial_id).is_dir())
    return [f"{spec.trial_id}: {what}" for spec in begun for what in _trial(store, spec)]


def _trial(store: Store, spec: TrialSpec) -> Iterator[str]:
    trial_id, folder = spec.trial_id, store.trial_folder(spec.trial_id)
    stored = store.spec(trial_id)
    if stored is None or stored.trial_id != trial_id:
        _make_way(folder / results.SPEC)
        files.write_json(folder / results.SPEC, spec)
        yield f"its {results.SPEC} was written again, as its launch has it"
    if os.path.lexists(folder / results.RESULT) and store.result(trial_id) is None:
        if ownership.finished_or_published(store, trial_id):
            yield f"its {results.RESULT} was taken from the attempt that wrote it"
        else:
            yield f"its {results.RESULT} was set aside, and resume trains it again"
    result = store.result(trial_id)
    if result is not None and not journal.same(store.journal(trial_id), result.history):
        _write_journals(store, result)
        yield f"its {results.JOURNAL} was written again, as its result has it"


def _write_journals(store: Store, result: Result) -> None:
    """Make the chain of the attempts' journals the result's history."""
    number, last = result.attempt, result.epochs
    while True:
        folder = store.attempt_folder(result.trial_id, number)
        folder.mkdir(parents=True, exist_ok=True)
        _make_way(folder / results.JOURNAL)
        journal.rewrite(folder / results.JOURNAL, [r for r in result.history if r.epoch <= last])
        start = liveness.read_start(folder)
        before = start.resumed_from if start else None
        if before is None or before.attempt >= number:
            return
        number, last = before.attempt, min(last, before.epoch)


def _make_way(path: Path) -> None:
    """Rename what stands where a file is to be written and is none: a folder, a pipe."""
    if os.path.lexists(path) and not path.is_file():
        os.replace(path, path.with_name(f"{path.name}.damaged-{time.time_ns()}"))
