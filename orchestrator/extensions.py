"""Launchers and trackers by name: our own, and those that installed packages offer.

A package offers one as an entry point of the group `bnsweep.launchers`, a function of `Resources`
that returns a `Launcher`, or `bnsweep.trackers`, a function of `Settings` that returns a `Tracker`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from orchestrator.errors import UserError

Kind = Literal["launcher", "tracker"]
RAY, MLFLOW = "ray", "mlflow"
"""The defaults."""
OURS: dict[Kind, dict[str, str]] = {
    "launcher": {
        "inline": "orchestrator.launching.driver:inline_launcher",
        RAY: "orchestrator.launching.ray_launcher:RayLauncher",
    },
    "tracker": {MLFLOW: "orchestrator.tracking.mlflow_tracker:connect"},
}
"""What is always there, by name; no package can take its place."""


def find(kind: Kind, name: str) -> Callable[[Any], Any]:
    """What makes the launcher or tracker of this name; ours is imported only when it is made.

    Raises UserError where none has the name, two packages have it, or it cannot be imported.
    """
    group = _group(kind)
    if value := OURS[kind].get(name):
        return lambda given: EntryPoint(name, value, group).load()(given)
    offered = list(entry_points(group=group, name=name))
    if not offered:
        known = sorted({*OURS[kind], *entry_points(group=group).names})
        raise UserError(f"{kind} {name}: is not installed; known: {', '.join(known)}")
    if len(offered) > 1:
        values = " and ".join(point.value for point in offered)
        raise UserError(f"{kind} {name}: both {values} have the name; uninstall one of them")
    try:
        made: Callable[[Any], Any] = offered[0].load()
    except Exception as error:  # whatever the package's modules do wrong
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{kind} {name}: {offered[0].value} cannot be loaded: {reason}") from error
    return made


def _group(kind: Kind) -> str:
    return f"bnsweep.{kind}s"
