"""bnsweep as a library, with the words of the command line.

    from orchestrator import Sweep, histories, launch, results

    sweep = Sweep.load("sweeps/quickstart.yaml", "epochs=1")
    sweep.plan().totals
    launch(sweep)
    results("quickstart").groupby(["depth", "trainable"])["test/accuracy"].mean()
    histories("quickstart").pivot(index="epoch", columns="trial_id", values="test/accuracy")

What these names need is loaded when they are first used: the command line starts in a blink.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.library import Sweep, launch
    from orchestrator.reporting.frames import histories, results

__all__ = ["Sweep", "histories", "launch", "results"]

PROJECT = "bnsweep"
"""Marks the package as ours: PyPI has others of this name (see doctor)."""

_HOMES = {
    "Sweep": "library",
    "launch": "library",
    "results": "reporting.frames",
    "histories": "reporting.frames",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
