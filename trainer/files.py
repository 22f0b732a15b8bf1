"""Files that are whole or absent, whatever dies while they are written. No torch here.

Every file is written to a temporary name, fsynced and renamed, so that a reader sees the old
content or the new, never half of it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Record = TypeVar("Record", bound=BaseModel)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: temporary name beside it, fsync, rename, fsync of the folder.

    Who may read it is decided by the umask, as for any file.
    """
    temporary = _beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_once(path: Path, data: bytes) -> bool:
    """Write `path` whole, unless it exists: False, also where another process is first."""
    temporary = _beside(path)
    try:
        write_atomically(temporary, data)
        return link_once(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}")


def link_once(source: Path, target: Path) -> bool:
    """Give a file a second name; False where the name exists already."""
    try:
        os.link(source, target)
    except FileExistsError:
        if not source.samefile(target):  # over NFS the answer to a link that was made can be lost
            return False
    sync_folder(target.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class NotAFile(OSError):
    """Something else stands where a file should: a folder, a pipe, a device."""


def read(path: Path) -> bytes:
    """The content of a regular file. Raises OSError; NotAFile at once where a pipe would never
    answer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotAFile(errno.EINVAL, "is no regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The hexadecimal digest of a regular file's content. Raises OSError as `read` does."""
    return hashlib.sha256(read(path)).hexdigest()


def read_json(path: Path, kind: type[Record]) -> Record | None:
    """The record in a file; None where the file is missing, damaged or cannot be read."""
    try:
        return kind.model_validate_json(read(path))
    except (OSError, ValidationError):
        return None


def write_json(path: Path, content: BaseModel | dict[str, Any]) -> None:
    """Write `content` as JSON, atomically."""
    write_atomically(path, as_json(content))


def as_json(content: BaseModel | dict[str, Any]) -> bytes:
    """A JSON file's content; its last line ends, so that a file cut short shows."""
    text = (
        content.model_dump_json()
        if isinstance(content, BaseModel)
        else json.dumps(content, indent=1)
    )
    return text.encode() + b"\n"
