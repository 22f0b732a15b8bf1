"""What of this machine the process may use."""

from __future__ import annotations

import math
import os
import pwd
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def cpu_count(root: Path = Path("/")) -> int:
    """CPUs that this process may use: in a container, or under a batch system, fewer than the
    machine's, by their numbers (affinity) or by their time (a quota; a part of a CPU counts whole).

    `root`: where /proc and /sys lie.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min([allowed or 1, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """CPUs' worth of time of each control group that the process is in, its parents included."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, inside = line.split(":", 2)
        if controllers == "":
            mounts, read = ["sys/fs/cgroup", "sys/fs/cgroup/unified"], _version_2
        elif "cpu" in controllers.split(","):
            mounts, read = ["sys/fs/cgroup/cpu", f"sys/fs/cgroup/{controllers}"], _version_1
        else:
            continue
        group = PurePosixPath(inside.lstrip("/"))
        for mount in mounts:
            for folder in (group, *group.parents):
                quota, period = read(root / mount / folder)
                if quota > 0 and period > 0:
                    yield quota / period


def _version_2(group: Path) -> tuple[int, int]:
    words = _text(group / "cpu.max").split()
    return _pair(*words) if len(words) == 2 else (0, 0)


def _version_1(group: Path) -> tuple[int, int]:
    return _pair(_text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us"))


def _pair(quota: str, period: str) -> tuple[int, int]:
    """Both in microseconds; zeros where there is no quota (`max`, -1 or no file)."""
    try:
        return int(quota), int(period)
    except ValueError:
        return 0, 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def user_name() -> str:
    """The user that this process runs as, and not what its environment says."""
    return name_of(os.geteuid())


def name_of(user: int) -> str:
    """The user's name; the number of one that has none, as in many containers."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
