"""Folders of images in torchvision's layout: `train/CLASS/*.jpg` and `val/CLASS/*.jpg`.

Everything is looked at once before the first training on a node: every file is decoded and
hashed in worker processes, and the outcome kept under `ROOT/prepared`. Afterwards a listing of
names, sizes and times tells whether the folder is still the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainer import seeding
from trainer.data.augment import Normaliser, augmented
from trainer.data.crops import centre_crop, random_resized_crop
from trainer.data.in_memory import PREPARED
from trainer.data_sets import DATA_SETS
from trainer.errors import DataError
from trainer.files import write_json
from trainer.spec import TrialSpec, classes_of, image_size_of

TRAIN, VALIDATION = "train", "val"
SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
CHECKED_TOGETHER = 100
SHOWN = 3
"""Damaged files named in an error; the rest are counted."""


@dataclass(frozen=True)
class Listing:
    """One split: paths relative to the folder and their labels, the classes taking turns, so that
    the first n of a `train_subset` hold all classes."""

    folder: Path
    files: list[str]
    labels: list[int]

    def first(self, count: int) -> Listing:
        """The first `count` images. Raises DataError where there are fewer."""
        if count > len(self.files):
            raise DataError(f"{self.folder}: {len(self.files)} images, train_subset: {count}")
        return Listing(self.folder, self.files[:count], self.labels[:count])


def folder_of(spec: TrialSpec, root: Path) -> Path:
    """Where the images lie: the data folder's `data_id`, or `imagenet`."""
    return root / (spec.data_id or spec.dataset)


def scan(spec: TrialSpec, root: Path) -> tuple[Listing, Listing]:
    """Both splits of the folder; raises DataError for what is missing, empty or does not fit."""
    folder = folder_of(spec, root)
    classes = _classes(folder / TRAIN)
    if classes != (held := _classes(folder / VALIDATION)):
        odd = sorted(set(classes) ^ set(held))[0]
        raise DataError(f"{folder}: class {odd} is in only one of {TRAIN}/ and {VALIDATION}/")
    if len(classes) != classes_of(spec):
        raise DataError(f"{folder}: has {len(classes)} classes, but classes: {classes_of(spec)}")
    return _list(folder, TRAIN, classes), _list(folder, VALIDATION, classes)


def _classes(split: Path) -> list[str]:
    try:
        names = sorted(path.name for path in split.iterdir() if path.is_dir())
    except OSError as error:
        raise DataError(f"{split}: no such folder; it should hold a folder for each class") from (
            error
        )
    if not names:
        raise DataError(f"{split}: no folders of classes in it")
    return names


def _list(folder: Path, split: str, classes: list[str]) -> Listing:
    found: list[tuple[int, int, str]] = []
    for label, name in enumerate(classes):
        paths = sorted(
            p for p in (folder / split / name).rglob("*") if p.suffix.lower() in SUFFIXES
        )
        if not paths:
            raise DataError(f"{folder / split / name}: no images in this class")
        found += [(rank, label, str(p.relative_to(folder))) for rank, p in enumerate(paths)]
    found.sort()
    return Listing(folder, [file for _, _, file in found], [label for _, label, _ in found])


# --- looking at every file once ------------------------------------------------------------------


def digest(splits: Sequence[Listing], root: Path, workers: int) -> str:
    """sha256 over all names and contents. Raises DataError naming the images that do not decode."""
    folder, files = splits[0].folder, [file for split in splits for file in split.files]
    known = root / PREPARED / f"{folder.name}-{_listing_digest(folder, files)[:16]}.json"
    with suppress(OSError, ValueError, KeyError):
        return str(json.loads(known.read_text())["digest"])
    content = _look_at_every_file(folder, files, workers)
    with suppress(OSError):  # a read-only data folder: looked at again next time
        known.parent.mkdir(parents=True, exist_ok=True)
        write_json(known, {"digest": content})
    return content


def _look_at_every_file(folder: Path, files: Sequence[str], workers: int) -> str:
    content, damaged = hashlib.sha256(), []
    groups = _groups(range(len(files)), CHECKED_TOGETHER)
    for group, (digests, problems) in zip(
        groups, _in_workers(_Checked(folder, files), groups, workers), strict=True
    ):
        for index, sha256, problem in zip(group, digests, problems, strict=True):
            content.update(f"{files[index]}\0{sha256}\n".encode())
            damaged += [f"{folder / files[index]} ({problem})"] if problem else []
    if damaged:
        more = f" and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
        raise DataError(f"images that do not decode: {', '.join(damaged[:SHOWN])}{more}")
    return content.hexdigest()


def _listing_digest(folder: Path, files: Sequence[str]) -> str:
    listing = hashlib.sha256(str(folder.resolve()).encode())
    for file in files:
        about = (folder / file).stat()
        listing.update(f"{file}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return listing.hexdigest()


class _Checked(Dataset[tuple[str, str]]):
    """Item n: the sha256 of file n, and why it does not decode (empty if it does)."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        self.folder, self.files = folder, files

    def __getitem__(self, index: int) -> tuple[str, str]:
        path = self.folder / self.files[index]
        try:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            with Image.open(path) as image:
                image.draft("RGB", (1, 1))  # a JPEG decodes at an eighth: all of it is read
                image.load()
        except (OSError, SyntaxError, ValueError) as error:
            return "", str(error).splitlines()[0]
        return sha256, ""


# --- batches -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FolderTraining:
    """Training batches decoded in worker processes, the paper's crops and flips."""

    listing: Listing
    spec: TrialSpec
    normalise: Normaliser
    device: torch.device
    workers: int

    @property
    def count(self) -> int:
        return len(self.listing.files)

    def of(self, spec: TrialSpec) -> FolderTraining:
        """As in trainer.data.splits.Training."""
        return replace(self, spec=spec)

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """As in trainer.data.splits.Training."""
        return augmented(self._decoded(epoch, first_step), self.spec, epoch, first_step)

    def _decoded(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        draw = seeding.generator(self.spec.seed, "order", epoch)
        order = torch.randperm(self.count, generator=draw).tolist()
        size = self.spec.batch_size
        items = _Augmented(self.listing, self.spec, epoch)
        groups = _groups(order[first_step * size :], size)
        for batch in _on_device(items, groups, self.workers, self.device):
            pixels, labels, brightness = batch
            yield self.normalise(pixels, brightness if self.spec.brightness else None), labels


@dataclass(frozen=True)
class FolderEvaluation:
    """Test batches: shorter side to 256/224 of the image size, centre crop."""

    listing: Listing
    spec: TrialSpec
    normalise: Normaliser
    device: torch.device
    workers: int

    @property
    def count(self) -> int:
        return len(self.listing.files)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """As in trainer.data.splits.Evaluation."""
        items = _Plain(self.listing, image_size_of(self.spec))
        groups = _groups(range(self.count), DATA_SETS[self.spec.dataset].evaluation_batch)
        for pixels, labels in _on_device(items, groups, self.workers, self.device):
            yield self.normalise(pixels), labels


class _Augmented(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Item n: image n as (seed, epoch, n) crop and flip it, its label, its brightness."""

    def __init__(self, listing: Listing, spec: TrialSpec, epoch: int) -> None:
        self.listing, self.spec, self.epoch = listing, spec, epoch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        draw = seeding.generator(self.spec.seed, "augment", self.epoch, index)
        image = open_image(self.listing.folder / self.listing.files[index])
        pixels = random_resized_crop(image, image_size_of(self.spec), draw)
        mirrored, level = torch.rand(2, generator=draw, dtype=torch.float64).tolist()
        if self.spec.flip and mirrored < 0.5:
            pixels = pixels[:, ::-1]
        brightness = torch.full((1, 1, 1), (2 * level - 1) * self.spec.brightness)
        return _tensor(pixels), torch.tensor(self.listing.labels[index]), brightness


class _Plain(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, listing: Listing, side: int) -> None:
        self.listing, self.side = listing, side

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = open_image(self.listing.folder / self.listing.files[index])
        return _tensor(centre_crop(image, self.side)), torch.tensor(self.listing.labels[index])


def open_image(path: Path) -> Image.Image:
    """The image in RGB; raises DataError with the path."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be decoded ({error})") from error


def _tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.copy())  # a mirrored view has negative strides


def _groups(indices: Iterable[int], size: int) -> list[list[int]]:
    iterator = iter(indices)
    return list(iter(lambda: list(islice(iterator, size)), []))


def _on_device(
    items: Dataset[Any], groups: list[list[int]], workers: int, device: torch.device
) -> Iterator[list[Tensor]]:
    """The same on `device`. Out of pinned memory a GPU copies while its earlier steps still run."""
    for columns in _in_workers(items, groups, workers, pinned=device.type == "cuda"):
        yield [column.to(device, non_blocking=True) for column in columns]


def _in_workers(
    items: Dataset[Any], groups: list[list[int]], workers: int, pinned: bool = False
) -> Iterator[Any]:
    """For each group its items' columns, stacked; made in worker processes (0: in this one)."""
    loader: DataLoader[Any] = DataLoader(
        items,
        batch_sampler=groups,
        num_workers=workers,
        pin_memory=pinned,
        generator=torch.Generator(),  # or the loader draws from the global one
    )
    yield from loader
