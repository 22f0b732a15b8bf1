"""What the store asks of its file system: names are taken once, files replaced whole, times move.

Ownership (ownership.py) needs no locks, but it needs this. NFS has it; a bucket that is mounted as
a folder, and some network shares, lack a part, and would lose or double trials without a word.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_LONG_AGO = 1_000_000_000.0
_APART_S = 30.0
"""So far apart may be what two files say that were written now; see liveness.STALE_S."""
_NAMES = 50
_OF_THE_MOMENT = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}
"""Errors that say nothing of what the file system can do."""


def problems(root: Path, *, two_processes: bool = False) -> list[str]:
    """What a store in the folder `root` would lack, each in a few words; a matter of milliseconds.

    `two_processes`: also whether each of many names goes to one of two processes that ask for it at
    once, which starts a Python. Raises OSError where nothing can be written.
    """
    looks = [_mkdir, _link, _rename, _times] + ([_two_processes] if two_processes else [])
    found = []
    with _scratch(root) as folder:
        for look in looks:
            try:
                found.append(look(folder))
            except OSError as error:
                if error.errno in _OF_THE_MOMENT:
                    raise
                found.append(f"{_WHAT[look]} ({error.strerror})")
    return [problem for problem in found if problem]


@contextlib.contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(
        prefix=".check-", dir=root, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _mkdir(folder: Path) -> str:
    (folder / "claim").mkdir()
    try:
        (folder / "claim").mkdir()
    except FileExistsError:
        return ""
    return "makes a folder that is there already, so two workers would train one trial"


def _link(folder: Path) -> str:
    first, second, name = folder / "first", folder / "second", folder / "name"
    first.write_bytes(b"first")
    second.write_bytes(b"second")
    os.link(first, name)
    with contextlib.suppress(FileExistsError):
        os.link(second, name)
        return "gives a name to a second file, so one result would replace another"
    return "" if name.read_bytes() == b"first" else "loses a file's content when it is linked"


def _rename(folder: Path) -> str:
    old, new = folder / "old", folder / "new"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    os.replace(new, old)
    whole = old.read_bytes() == b"new" and not new.exists()
    return "" if whole else "does not replace a file by a rename, so records would stay old"


def _times(folder: Path) -> str:
    beat, fresh = folder / "beat", folder / "fresh"
    beat.touch()
    os.utime(beat, (_LONG_AGO, _LONG_AGO))
    os.utime(beat)
    fresh.touch()
    if fresh.stat().st_mtime <= _LONG_AGO:
        return "gives files no time, so a dead worker would not be noticed"
    if abs(fresh.stat().st_mtime - beat.stat().st_mtime) > _APART_S:
        return "does not move a file's time, so living workers would be taken for dead"
    return ""


_ASKS = """
import os, sys
print("ready", flush=True)
sys.stdin.read()
won = 0
for number in range(int(sys.argv[2])):
    try:
        os.mkdir(os.path.join(sys.argv[1], str(number)))
        won += 1
    except FileExistsError:
        pass
print(won)
"""


def _two_processes(folder: Path) -> str:
    race = folder / "race"
    race.mkdir()
    command = [sys.executable, "-I", "-S", "-c", _ASKS, str(race), str(_NAMES)]
    begin, hold = os.pipe()
    with contextlib.ExitStack() as stack:
        start = functools.partial(subprocess.Popen, command, stdin=begin, stdout=subprocess.PIPE)
        pair = [stack.enter_context(start()) for _ in range(2)]
        os.close(begin)
        for process in pair:
            assert process.stdout is not None
            process.stdout.readline()
        os.close(hold)  # both begin
        won = sum(int(process.communicate()[0] or 0) for process in pair)
    if won == _NAMES:
        return ""
    return f"gave {_NAMES} names to two processes {won} times, so trials would be doubled"


_WHAT: dict[Callable[[Path], str], str] = {
    _mkdir: "makes no folders",
    _link: "has no hard links",
    _rename: "cannot rename a file over another",
    _times: "cannot set a file's time",
    _two_processes: "cannot be used by two processes at once",
}
"""What is said where a look ends with an error."""
