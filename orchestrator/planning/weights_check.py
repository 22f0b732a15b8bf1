"""Whether the files of weights that a sweep names fit its networks, before anything is copied.

Asked of the trainer in a process of its own: it reads names and shapes, and executes nothing.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator import python_process
from orchestrator.errors import UserError
from orchestrator.planning import described
from orchestrator.store.store import Store
from orchestrator.sweep.problems import one_line
from orchestrator.sweep.sweep_spec import SweepSpec
from trainer.spec import TrialSpec


def check(sweep: SweepSpec, store: Store) -> None:
    """Raise UserError with a line for each file and network that do not fit."""
    pairs = _pairs(sweep)
    if not pairs:
        return
    code = described.code_of(sweep, store)
    arguments = ["--code", code] if code else []
    given = [{"file": str(path), "spec": spec.identity_fields()} for path, spec in pairs]
    problems = python_process.ask("trainer", "check-weights", *arguments, given=given)
    place = sweep.filename or sweep.name
    first: dict[str, TrialSpec] = {}  # what is no weights file is that for each network
    for (_, spec), problem in zip(pairs, problems, strict=True):
        first.setdefault(problem or "", spec)
    first.pop("", None)
    if first:
        lines = (f"{place}: weights_file: {_named(s)}: {problem}" for problem, s in first.items())
        raise UserError(*map(one_line, lines))


def private_files(sweep: SweepSpec, store: Store) -> tuple[Path, ...]:
    """Files that their owner alone may read, and of which a launch makes a copy for whoever may
    read the store."""
    if store.root.exists() and not store.root.stat().st_mode & 0o077:
        return ()
    new = [p for sha256, p in sweep.files.items() if not store.weights_file(sha256).exists()]
    return tuple(path for path in new if not path.stat().st_mode & 0o077)


def _pairs(sweep: SweepSpec) -> list[tuple[Path, TrialSpec]]:
    """Each file with one trial for each network that begins with it."""
    found: dict[tuple[object, ...], tuple[Path, TrialSpec]] = {}
    for spec in sweep.trials:
        if path := sweep.files.get(spec.weights_sha256):
            network = described.network_of(spec)
            found.setdefault((spec.weights_sha256, network), (path, spec))
    return list(found.values())


def _named(spec: TrialSpec) -> str:
    size = "" if "/" in spec.model else f" of depth {spec.depth} and width {spec.width}"
    return f"{spec.model}{size}"
