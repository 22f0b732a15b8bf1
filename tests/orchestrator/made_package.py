"""An installed package with a launcher and a tracker, as files on the path of Python."""

from __future__ import annotations

MODULE = '''\
"""Forgets nothing while the process lives."""

from orchestrator.launching.driver import InlineLauncher
from orchestrator.tracking.memory_tracker import MemoryTracker

MADE = []


def tracker(settings):
    MADE.append(settings.store)
    return TRACKER


def launcher(resources):
    MADE.append(resources.cpus)
    return InlineLauncher()


TRACKER = MemoryTracker()
'''


def installed(folder, module="remembers"):
    """Writes the package `module` into `folder`, which is to stand on the path."""
    (folder / f"{module}.py").write_text(MODULE)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[bnsweep.trackers]\nremembers = {module}:tracker\nbroken = {module}:nothing\n"
        f"[bnsweep.launchers]\nremembers = {module}:launcher\n"
    )
