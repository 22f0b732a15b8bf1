"""Whose a place in the store is, for a person who may not read or write there.

A store that a group shares is a folder of that group with the setgid bit, used with umask 002: then
each may go on with, stop and discard what anybody has launched. What somebody has made with another
umask stays theirs.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from orchestrator import machine

_GROUPS = "a store that a group shares has setgid folders and is used with umask 002"


def denial(error: OSError) -> str:
    """Who forbids what the error tells of, and to whom, in a line; "" where it is about anything
    else, or the place is the user's own."""
    if error.errno not in (errno.EACCES, errno.EPERM) or not isinstance(error.filename, str):
        return ""
    path, owner = _nearest(Path(error.filename))
    return "" if owner == os.geteuid() else f"{path}: {_refusal(path, owner)}; {_GROUPS}"


def in_a_line(error: OSError) -> str:
    """What the file system has refused: where, and why or who forbids it."""
    path = f"{error.filename}: " if error.filename else ""
    return denial(error) or f"{path}{error.strerror or error}"


def not_writable(path: Path) -> str:
    """The same of a file or folder that this user may not write, without its path; "" where they
    may, or it is not there."""
    wanted = os.W_OK | (os.X_OK if path.is_dir() else 0)
    if not path.exists() or os.access(path, wanted):
        return ""
    _, owner = _nearest(path)
    return _refusal(path, owner)


def _nearest(path: Path) -> tuple[Path, int]:
    """The first of a path and the folders around it that can be looked at, and its owner."""
    for place in (path, *path.parents):
        try:
            return place, place.lstat().st_uid
        except OSError:
            continue
    return path, 0


def _refusal(path: Path, owner: int) -> str:
    may_read = os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0))
    what = "write there" if may_read else "read it"
    return f"belongs to {machine.name_of(owner)}, and {machine.user_name()} may not {what}"
