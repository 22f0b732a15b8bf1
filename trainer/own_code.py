"""The user's own code as files: what may be part of it, and the digest by which a trial names it.

No torch here, and nothing is imported or run: the orchestrator asks, too.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from trainer.errors import TrainerError

MAX_BYTES = 1024**2


class CodeProblem(TrainerError):
    """Something is wrong with the user's code; `file` and `line` are theirs, where it is known."""

    def __init__(self, message: str, file: str = "", line: int = 0, traceback: str = "") -> None:
        super().__init__(message)
        self.message, self.file, self.line, self.traceback = message, file, line, traceback

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return place + self.message


def files(path: Path) -> dict[str, bytes]:
    """The .py files of a module or package, by their path within it; a module's name is its own.

    Raises CodeProblem for what cannot be part of a trial: no .py file, other files in a package,
    more than 1 MiB, a link that leads out of the package.
    """
    if path.is_dir():
        content = _package(path)
    elif path.suffix != ".py":
        raise CodeProblem(f"{path.name} is neither a .py file nor a package folder")
    else:
        content = {path.name: _read(path)}
    size = sum(map(len, content.values()))
    if size > MAX_BYTES:
        raise CodeProblem(f"{path.name} has {size:,} bytes of code; at most {MAX_BYTES:,}")
    return content


def digest(path: Path) -> str:
    """sha256 of a module's bytes, or of all names and contents of a package; see `files`."""
    content = files(path)
    if not path.is_dir():
        return hashlib.sha256(next(iter(content.values()))).hexdigest()
    each = [[name, hashlib.sha256(data).hexdigest()] for name, data in sorted(content.items())]
    return hashlib.sha256(json.dumps(each).encode()).hexdigest()


def _package(folder: Path) -> dict[str, bytes]:
    content: dict[str, bytes] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted((*names, *folders)):
            path = Path(place, name)
            if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
                raise CodeProblem(
                    f"{_inside(path, folder)} is a link that leads out of {folder.name}"
                )
            if name in names and path.suffix != ".py":
                raise CodeProblem(f"{_inside(path, folder)}: a package of code has .py files only")
            if name in names:
                content[_inside(path, folder)] = _read(path)
    if "__init__.py" not in content:
        raise CodeProblem(f"{folder.name} has no __init__.py, so it is not a package")
    return content


def _inside(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            is_not = "is no regular file" if path.exists() else "is not there"
            raise CodeProblem(f"{path.name} {is_not}")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise CodeProblem(f"{path.name} has {size:,} bytes; at most {MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise CodeProblem(f"{path.name}: cannot be read ({error.strerror})") from error
