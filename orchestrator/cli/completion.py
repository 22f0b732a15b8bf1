"""What the shell offers when the user presses Tab: sweep files, sweep names, trial ids."""

from __future__ import annotations

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
    return [name for name in _store().sweeps() if name.startswith(incomplete)]


def trial_ids(incomplete: str) -> list[str]:
    """Trials of the store that begin with what was typed."""
    return sorted(name for name in _store().trial_ids() if name.startswith(incomplete))


def _store() -> Store:
    return Store(settings.load().store)
