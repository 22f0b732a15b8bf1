"""ImageNet's archives, unpacked into the folders that `trainer.data.layouts` reads.

Each folder gets its name when it is whole: what was cut off goes on with the class it was at.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from trainer.data.layouts import DEVKIT, TRAIN, VALIDATION
from trainer.errors import DataError

TRAIN_ARCHIVE = "ILSVRC2012_img_train.tar"
VALIDATION_ARCHIVE = "ILSVRC2012_img_val.tar"
DEVKIT_ARCHIVE = f"{DEVKIT}.tar.gz"


def unpack(folder: Path, say: Callable[[str], None]) -> None:
    """Unpack those of the archives that lie in `folder` and whose folder is not there yet.

    Raises DataError where one is damaged.
    """
    for archive, target, unpack_into in (
        (TRAIN_ARCHIVE, TRAIN, _classes),
        (VALIDATION_ARCHIVE, VALIDATION, _images),
        (DEVKIT_ARCHIVE, DEVKIT, _devkit),
    ):
        path, final = folder / archive, folder / target
        if final.exists() or not path.is_file():
            continue
        part = folder / f".{target}.part"
        part.mkdir(exist_ok=True)
        try:
            with path.open("rb") as file:
                unpack_into(file, part, say)
        except (tarfile.TarError, EOFError) as error:
            raise DataError(f"{path}: is damaged ({error}); fetch it again") from error
        part.rename(final)
        say(f"{final}: unpacked")


def _classes(file: IO[bytes], part: Path, say: Callable[[str], None]) -> None:
    """An archive of an archive for each class."""
    with tarfile.open(fileobj=file) as archive:
        for count, member in enumerate(archive, 1):
            name = Path(member.name).stem
            inner = archive.extractfile(member)
            if inner is None or (part / name).exists():
                continue
            scratch = part / f".{name}"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            _images(inner, scratch, say)
            scratch.rename(part / name)
            if count % 100 == 0:
                say(f"{part.parent / TRAIN}: {count} classes")


def _images(file: IO[bytes], part: Path, _say: Callable[[str], None]) -> None:
    """An archive of files; none leaves the folder, whatever its name says."""
    for name, content in _files(file):
        _write(content, part / name.name)


def _devkit(file: IO[bytes], part: Path, _say: Callable[[str], None]) -> None:
    _folder(file, DEVKIT, part)


def unpack_folder(path: Path, name: str, folder: Path) -> None:
    """Unpack the folder `name` of the archive at `path` as `folder`: whole, or not at all."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}.") as scratch:
        part = Path(scratch) / name
        part.mkdir()
        with path.open("rb") as file:
            _folder(file, name, part)
        part.rename(folder)


def _folder(file: IO[bytes], folder: str, part: Path) -> None:
    """The files below an archive's `folder`; none leaves `part`, whatever its name says."""
    for name, content in _files(file):
        if name.parts[:1] == (folder,) and ".." not in name.parts:
            _write(content, part.joinpath(*name.parts[1:]))


def _files(file: IO[bytes]) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """Name and content of each regular file: links and devices are no images. (Python before
    3.11.4 has no filters for extraction.)"""
    with tarfile.open(fileobj=file) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield PurePosixPath(member.name), content


def _write(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        shutil.copyfileobj(content, target)
