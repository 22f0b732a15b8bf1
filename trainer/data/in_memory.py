"""The images themselves: data sets that fit in memory, as uint8 arrays, read, checked and digested.

`arrays` returns a data set's two splits. A download is unpacked once for each node into
memory-mapped files under `ROOT/prepared`, which all trials on the node share (the operating system
keeps one copy of their pages).
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data import archives
from trainer.data.layouts import PREPARED
from trainer.data_sets import DATA_SETS
from trainer.errors import DataError
from trainer.files import write_json
from trainer.spec import TrialSpec, classes_of, image_size_of

DOWNLOAD_TIMEOUT_S = 20

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Arrays:
    """A split: `images` [n, side + 2 padding, side + 2 padding, 3] uint8, `labels` [n] int64."""

    images: Pixels
    labels: Labels


Splits = tuple[Arrays, Arrays]
"""Training and test images, without padding."""


@dataclass(frozen=True)
class Prepared:
    """Both splits and the sha256 of their unpadded content; only `train` is zero-padded."""

    train: Arrays
    test: Arrays
    digest: str


def arrays(spec: TrialSpec, root: Path) -> Prepared:
    """The data set of `spec`, the training images padded by `crop_padding` black pixels.

    Raises DataError, with the path, where something is missing or damaged.
    """
    data_set = DATA_SETS[spec.dataset]
    assert data_set.read is not None, spec.dataset
    read: Callable[[], Splits] = functools.partial(data_set.read, spec, root)
    if data_set.storage == "download":
        return _prepared_once(spec, root, read)
    return _padded(*read(), spec.crop_padding)


# --- the readers: (spec, root) to training and test images --------------------------------------


def digits(spec: TrialSpec, _root: Path) -> Splits:
    """scikit-learn's 1,797 digits, 8x8 with 17 grey levels, repeated to 3 channels.

    The split is fixed: 1,437 for training and 360 for testing, the classes in equal shares.
    """
    from sklearn.datasets import load_digits  # a second of imports that other data sets spare
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    grey = np.round(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    images, labels = np.repeat(grey, 3, axis=3), labels.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)),
        test_size=DATA_SETS[spec.dataset].test_images,
        random_state=0,
        stratify=labels,
    )
    return Arrays(images[train], labels[train]), Arrays(images[test], labels[test])


def synthetic(spec: TrialSpec, _root: Path) -> Splits:
    """A coarse 4x4 pattern for each class under noise: learnable in an epoch, any size or count."""
    side, classes = image_size_of(spec), classes_of(spec)
    draw = np.random.default_rng(0)
    patterns = draw.integers(0, 256, (classes, 4, 4, 3))
    nearest = np.arange(side) * 4 // side

    def split(count: int, stream: int) -> Arrays:
        draw = np.random.default_rng(stream)
        labels = draw.integers(0, classes, count)
        clean = patterns[labels][:, nearest][:, :, nearest]
        noisy = clean + draw.integers(-60, 61, clean.shape)
        return Arrays(np.clip(noisy, 0, 255).astype(np.uint8), labels.astype(np.int64))

    sizes = DATA_SETS[spec.dataset]
    wanted = spec.train_subset + spec.validation if spec.train_subset else sizes.train_images
    return split(wanted, 1), split(sizes.test_images, 2)


def cifar(spec: TrialSpec, root: Path) -> Splits:
    """CIFAR-10 or CIFAR-100 as published, unpacked or fetched where it is missing."""
    from torchvision import datasets as tv  # a second of imports, needed once for each node

    kind = tv.CIFAR10 if spec.dataset == "cifar10" else tv.CIFAR100
    root = _place(kind, root)
    _check_files(kind, root / kind.base_folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's about the age of these pickles
        train, test = (kind(str(root), train=split) for split in (True, False))
    return tuple(
        Arrays(np.asarray(split.data, np.uint8), np.asarray(split.targets, np.int64))
        for split in (train, test)
    )  # type: ignore[return-value]


def _place(kind: Any, root: Path) -> Path:
    """Where the data set's folder is: in `root`, or one folder deeper, as some tools unpack it.

    Where there is none, its archive is unpacked, from `root`, beside it or one folder deeper; else
    it is fetched. Raises DataError.
    """
    folder = root / kind.base_folder
    if folder.exists():
        return root
    if deeper := sorted(root.glob(f"*/{kind.base_folder}")):
        return deeper[0].parent
    beside = [root / kind.filename, root.absolute().parent / kind.filename]
    archives_here = [*beside, *sorted(root.glob(f"*/{kind.filename}"))]
    if path := next((path for path in archives_here if path.is_file()), None):
        _unpack(kind, path, folder)
    else:
        _download(kind, folder, root)
    return root


def _unpack(kind: Any, path: Path, folder: Path) -> None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        if digest.hexdigest() != kind.tgz_md5:
            raise DataError(f"{path}: the checksum differs from the published one; fetch it again")
        folder.parent.mkdir(parents=True, exist_ok=True)
        archives.unpack_folder(path, kind.base_folder, folder)
    except OSError as error:
        raise DataError(f"{path}: cannot be unpacked to {folder} ({error.strerror})") from error


def _check_files(kind: Any, folder: Path) -> None:
    """Every file of the data set against torchvision's checksum."""
    files = [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]
    for file, md5 in files:
        path = folder / file
        if not path.is_file():
            raise DataError(f"{path}: missing; {_how_to_get(kind, folder)}")
        if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5:
            raise DataError(f"{path}: the checksum differs from the published file's; replace it")


def _download(kind: Any, folder: Path, root: Path) -> None:
    """Fetch and unpack beside, then rename: a download that is cut off leaves nothing behind."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download.") as scratch:
            with _socket_timeout(DOWNLOAD_TIMEOUT_S):
                kind(scratch, train=True, download=True)
            os.rename(Path(scratch) / kind.base_folder, folder)
    except (OSError, RuntimeError) as error:
        reason = str(getattr(error, "reason", error)).splitlines()[0] if str(error) else "no answer"
        raise DataError(
            f"{folder}: no such data set, and the download failed ({reason}); "
            f"{_how_to_get(kind, folder)}"
        ) from error


def _how_to_get(kind: Any, folder: Path) -> str:
    return (
        f"unpack {kind.filename} (from {kind.url}) so that {folder} exists, "
        f"or put it into {folder.parent} as it is"
    )


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torchvision's download has no time limit of its own, and a silent network hangs for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


# --- what becomes of them ------------------------------------------------------------------------


def _padded(train: Arrays, test: Arrays, padding: int) -> Prepared:
    digest = _content_digest(train, test)
    return Prepared(Arrays(pad(train.images, padding), train.labels), test, digest)


def pad(images: Pixels, padding: int) -> Pixels:
    """`images` with `padding` black pixels on each side."""
    edge = (padding, padding)
    return np.pad(images, ((0, 0), edge, edge, (0, 0))) if padding else images


def _content_digest(train: Arrays, test: Arrays) -> str:
    digest = hashlib.sha256()
    for array in (train.images, train.labels, test.images, test.labels):
        digest.update(str((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


# --- downloads, prepared once for each node ------------------------------------------------------


def _prepared_once(spec: TrialSpec, root: Path, read: Callable[[], Splits]) -> Prepared:
    name, padding = spec.dataset, spec.crop_padding
    folder = root / PREPARED / f"{name}-pad{padding}"
    if not folder.exists():
        try:
            _prepare(name, folder, read, padding)
        except OSError:  # a read-only data folder: each trial keeps its own copy
            return _padded(*read(), padding)
    return _open_prepared(folder)


def _prepare(name: str, folder: Path, read: Callable[[], Splits], padding: int) -> None:
    """Write the padded arrays beside and rename the folder into place: complete or absent."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / f".{name}.lock"):
        if folder.exists():  # another worker did it while this one waited
            return
        prepared = _padded(*read(), padding)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            _write_prepared(scratch, prepared)
            scratch.chmod(0o755)
            os.rename(scratch, folder)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def _write_prepared(folder: Path, prepared: Prepared) -> None:
    for split, content in (("train", prepared.train), ("test", prepared.test)):
        np.save(folder / f"{split}_images.npy", content.images)
        np.save(folder / f"{split}_labels.npy", content.labels)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*.npy"))}
    write_json(folder / "prepared.json", {"digest": prepared.digest, "bytes": sizes})


def _open_prepared(folder: Path) -> Prepared:
    try:
        about = json.loads((folder / "prepared.json").read_bytes())
        for name, size in about["bytes"].items():
            if (folder / name).stat().st_size != size:
                raise ValueError(f"{name} should have {size} bytes")
        train, test = (
            Arrays(_mapped(folder / f"{split}_images.npy"), np.load(folder / f"{split}_labels.npy"))
            for split in ("train", "test")
        )
        return Prepared(train, test, about["digest"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{folder}: the prepared arrays are damaged ({error}); remove this folder, "
            "it is made again"
        ) from error


def _mapped(path: Path) -> Pixels:
    """Mapped copy-on-write: shared by all readers, and torch accepts it as writable."""
    mapped: Pixels = np.load(path, mmap_mode="c")
    return mapped


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One preparation at a time on a node; the system releases the lock of a dead process."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
