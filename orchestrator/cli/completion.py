"""What the shell offers when the user presses Tab: sweep files, sweep names, trial ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestrator import settings
from orchestrator.store.store import Store


def sweep_files(incomplete: str) -> list[str]:
    """YAML files, and folders to go on in, that begin with what was typed."""
    typed = Path(incomplete)
    folder = typed if incomplete.endswith("/") else typed.parent
    paths = sorted(folder.glob("*")) if folder.is_dir() else []
    offered = [f"{path}/" for path in paths if path.is_dir()]
    offered += [str(path) for path in paths if path.suffix in (".yaml", ".yml")]
    return [name for name in offered if name.startswith(incomplete.removeprefix("./"))]


def sweep_names(incomplete: str) -> list[str]:
    """Sweeps of the store that begin with what was typed."""
    return [p.name for p in _folders("sweeps") if p.name.startswith(incomplete)]


def trial_ids(incomplete: str) -> list[str]:
    """Trials of the store that begin with what was typed."""
    return [p.name for p in _folders("trials") if p.name.startswith(incomplete)]


def _folders(name: str) -> Iterator[Path]:
    store = Store(settings.load().store)
    folder = store.sweeps_folder if name == "sweeps" else store.trials_folder
    if folder.is_dir():
        yield from sorted(p for p in folder.iterdir() if p.is_dir())
