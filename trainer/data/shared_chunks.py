"""Images decoded once for all trials of a node that need the same ones at about the same time.

A chunk is a file of pixels in memory (/dev/shm). All trials of a seed number their chunks alike,
and whoever comes first decodes: a lock on the chunk's number, which the system releases when its
holder dies, tells the others that it is under way. Readers take hard links, so a chunk that is
forgotten here stays with those who still need it. A trial that is far behind the others finds its
chunks forgotten, and decodes them itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

MEMORY = Path("/dev/shm")
KEPT_BYTES = 512 * 1024 * 1024
"""Of the chunks that are kept for other trials, for each seed that is trained."""
_USERS, _CLAIMS = "users", "claims"


class Stream:
    """The chunks that trials share, seen from a process that decodes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._claims = os.open(folder / _CLAIMS, os.O_RDWR | os.O_CREAT, 0o600)

    def take(self, number: int, path: Path) -> bool:
        """Give the chunk a second name, `path`; False where it is not here."""
        with contextlib.suppress(FileNotFoundError):
            os.link(self.folder / str(number), path)
            return True
        return False

    @contextlib.contextmanager
    def claim(self, number: int) -> Iterator[bool]:
        """Whether this process is to decode the chunk; nobody else may until the block ends."""
        try:
            fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._claims, fcntl.LOCK_UN, 1, number)

    def publish(self, number: int, path: Path) -> None:
        """Let others take the chunk that is whole at `path`, and forget the oldest."""
        with contextlib.suppress(FileExistsError):
            os.link(path, self.folder / str(number))
        kept = max(8, KEPT_BYTES // max(1, path.stat().st_size))
        for name in _oldest_first(self.folder)[:-kept]:
            (self.folder / name).unlink(missing_ok=True)


def _oldest_first(folder: Path) -> list[str]:
    times = []
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):
            if entry.name.isdecimal():
                times.append((entry.stat().st_mtime_ns, entry.name))
    return [name for _, name in sorted(times)]


# --- the folders in memory -----------------------------------------------------------------------


def base(wanted_bytes: int) -> Path:
    """This user's folder in memory, or in the folder for temporary files where memory has no room
    (a container's /dev/shm has 64 MB). What dead processes left in it is removed."""
    for parent in (MEMORY, Path(tempfile.gettempdir())):
        folder = parent / f"bnsweep-{os.getuid()}"
        with contextlib.suppress(OSError):
            if shutil.disk_usage(parent).free < wanted_bytes:
                continue
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue  # another user's of our name
            _remove_left_over(folder)
            return folder
    return Path(tempfile.mkdtemp(prefix="bnsweep-"))


def use(folder: Path) -> int:
    """Make `folder` if it is not there, and keep it from being removed; the lock to close."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder / _USERS, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_SH)
            with contextlib.suppress(FileNotFoundError):
                if os.stat(folder / _USERS).st_ino == os.fstat(lock).st_ino:
                    return lock
            os.close(lock)


def _remove_left_over(parent: Path) -> None:
    """Remove the folders that nobody uses: whoever did has died, and its lock with it."""
    for folder in parent.iterdir():
        with contextlib.suppress(OSError):
            lock = os.open(folder / _USERS, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
