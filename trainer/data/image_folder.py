"""Folders of images, in one of the layouts of `trainer.data.layouts`.

Everything is looked at once before the first training on a node: every file is decoded and
hashed by the decoders, and the outcome kept under `ROOT/prepared`. Afterwards a listing of
names, sizes and times tells whether the folder is still the same.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer import seeding
from trainer.data import layouts
from trainer.data.augment import Normaliser, augmented
from trainer.data.decoders import Decoders, Shared
from trainer.data.decoding import DRAWS, LEVEL, Augmented, Check, Decoder, Files, Plain
from trainer.data.layouts import PREPARED, Found
from trainer.data.prepared_images import StoredListing
from trainer.data_sets import DATA_SETS
from trainer.errors import DataError
from trainer.files import write_json
from trainer.spec import TrialSpec, classes_of, image_size_of

CHECKED_TOGETHER = 100
CHUNK = 32
"""Images that a decoder is given at a time: consecutive ones of an epoch, whatever the batches."""
SHOWN = 3
"""Damaged files named in an error; the rest are counted."""


@dataclass(frozen=True)
class Listing:
    """One split: paths relative to the folder and their labels, the classes taking turns, so that
    the first n of a `train_subset` hold all classes."""

    folder: Path
    files: list[str]
    labels: list[int]

    decoder: Decoder = "pil"
    shorter_side: int = 0

    def only(self, members: NDArray[np.int64]) -> Listing:
        """These images, in this order."""
        numbers = members.tolist()
        files, labels = ([all[n] for n in numbers] for all in (self.files, self.labels))
        return replace(self, files=files, labels=labels)

    def images(self, indices: Sequence[int]) -> Files:
        """These images, for a task."""
        paths = (f"{self.folder}/{self.files[index]}" for index in indices)
        return Files(tuple(paths), self.decoder, self.shorter_side)


def folder_of(spec: TrialSpec, root: Path) -> Path:
    """Where the images lie: the data folder's `data_id`, or `imagenet`."""
    return root / (spec.data_id or spec.dataset)


def scan(spec: TrialSpec, root: Path) -> tuple[Listing, Listing]:
    """Both splits of the folder; raises DataError for what is missing, empty or does not fit."""
    found = layouts.find(folder_of(spec, root), classes_of(spec))
    return _list(found, found.train), _list(found, found.test)


def _list(found: Found, pairs: Sequence[tuple[str, str]]) -> Listing:
    labels = {name: label for label, name in enumerate(found.classes)}
    ranks: Counter[str] = Counter()
    turns = []
    for file, name in pairs:
        turns.append((ranks[name], labels[name], file))
        ranks[name] += 1
    turns.sort()
    return Listing(found.folder, [file for *_, file in turns], [label for _, label, _ in turns])


# --- looking at every file once ------------------------------------------------------------------


def digest(splits: Sequence[Listing], root: Path, decoders: Decoders) -> str:
    """sha256 over all names and contents. Raises DataError naming the images that do not decode."""
    folder, files = splits[0].folder, [file for split in splits for file in split.files]
    known = root / PREPARED / f"{folder.name}-{_listing_digest(folder, files)[:16]}.json"
    with suppress(OSError, ValueError, KeyError):
        return str(json.loads(known.read_bytes())["digest"])
    content = _look_at_every_file(folder, files, decoders)
    with suppress(OSError):  # a read-only data folder: looked at again next time
        known.parent.mkdir(parents=True, exist_ok=True)
        write_json(known, {"digest": content})
    return content


def _look_at_every_file(folder: Path, files: Sequence[str], decoders: Decoders) -> str:
    content, damaged = hashlib.sha256(), []
    tasks = (
        Check(tuple(f"{folder}/{file}" for file in files[first : first + CHECKED_TOGETHER]))
        for first in range(0, len(files), CHECKED_TOGETHER)
    )
    names = iter(files)
    for _, found in decoders.outcomes(tasks, 2 * decoders.count):
        for file, (sha256, problem) in zip(names, found, strict=False):
            content.update(f"{file}\0{sha256}\n".encode())
            damaged += [f"{folder / file} ({problem})"] if problem else []
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


# --- batches -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """The images of a split, how they become pixels, and where."""

    listing: Listing | StoredListing
    split: str
    """Which of the folder's images they are; their number tells the rest."""
    digest: str
    """Of the folder's content."""
    decoder: str
    """What decodes them, or has, with its version."""
    shorter_side: int
    decoders: Decoders
    normalise: Normaliser
    device: torch.device

    @property
    def labels(self) -> Tensor:
        return torch.tensor(self.listing.labels)

    def stream(self, *what: object) -> str:
        """The name under which trials share decoded chunks: equal for equal pixels alone."""
        count = len(self.listing.labels)
        key = [self.digest, self.split, count, self.decoder, self.shorter_side, CHUNK, *what]
        return f"stream-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}"

    def batches(
        self, tasks: Iterable[Shared], sizes: Sequence[int], skipped: int
    ) -> Iterator[Tensor]:
        """Batches of these sizes out of the tasks' pixels, without the first `skipped` images:
        uint8 [b, side, side, 3] on the device, which copies while its earlier steps still run."""
        ahead = 2 * self.decoders.count + 2 * -(-max(sizes) // CHUNK)
        pinned = self.device.type == "cuda"
        chunks = (pixels for pixels, _ in self.decoders.outcomes(tasks, ahead))
        left: NDArray[np.uint8] | None = None
        for size in sizes:
            batch: Tensor | None = None
            filled = 0
            while filled < size:
                if left is None or not len(left):
                    left = next(chunks)
                    assert left is not None
                    left, skipped = left[skipped:], 0
                if batch is None:
                    shape = (size, *left.shape[1:])
                    batch = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
                part = left[: size - filled]
                batch.numpy()[filled : filled + len(part)] = part
                filled, left = filled + len(part), left[len(part) :]
            assert batch is not None
            yield batch.to(self.device, non_blocking=True)


@dataclass(frozen=True)
class FolderTraining:
    """Training batches decoded by other processes, the paper's crops and flips."""

    source: Source
    spec: TrialSpec

    @property
    def count(self) -> int:
        return len(self.source.listing.labels)

    def of(self, spec: TrialSpec) -> FolderTraining:
        """As in trainer.data.splits.Training."""
        return replace(self, spec=spec)

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """As in trainer.data.splits.Training."""
        return augmented(self._decoded(epoch, first_step), self.spec, epoch, first_step)

    def _decoded(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        source, spec, count = self.source, self.spec, self.count
        draw = seeding.generator(spec.seed, "order", epoch)
        order = torch.randperm(count, generator=draw)
        ends = range(first_step * spec.batch_size, count, spec.batch_size)
        groups = [order[first : first + spec.batch_size] for first in ends]
        if not groups:
            return
        first_chunk, skipped = divmod(ends[0], CHUNK)
        tasks = self._tasks(epoch, order, first_chunk)
        pixels = source.batches(tasks, [len(group) for group in groups], skipped)
        labels = source.labels
        for batch, group in zip(pixels, groups, strict=True):
            bright = self._brightness(epoch, group.tolist()) if spec.brightness else None
            yield (
                source.normalise(batch, bright),
                labels[group].to(source.device, non_blocking=True),
            )

    def _tasks(self, epoch: int, order: Tensor, first_chunk: int) -> Iterator[Shared]:
        side, chunks = image_size_of(self.spec), -(-self.count // CHUNK)
        flip, least = self.spec.flip, self.spec.crop_scale
        stream = self.source.stream("augmented", side, flip, least, self.spec.seed)
        for number in range(first_chunk, chunks):
            indices = order[number * CHUNK : (number + 1) * CHUNK].tolist()
            draws = np.array([self._draws(epoch, index) for index in indices])
            task = Augmented(self.source.listing.images(indices), side, draws, flip, least)
            yield Shared(task, stream, epoch * chunks + number)

    def _draws(self, epoch: int, index: int) -> list[float]:
        """The random numbers of an image in an epoch: see `decoding.DRAWS`."""
        draw = seeding.generator(self.spec.seed, "augment", epoch, index)
        numbers: list[float] = torch.rand(DRAWS, generator=draw, dtype=torch.float64).tolist()
        return numbers

    def _brightness(self, epoch: int, indices: Sequence[int]) -> Tensor:
        levels = [2 * self._draws(epoch, index)[LEVEL] - 1 for index in indices]
        bright = torch.tensor([level * self.spec.brightness for level in levels])
        return bright.view(-1, 1, 1, 1).to(self.source.device)


@dataclass(frozen=True)
class FolderEvaluation:
    """Unaugmented batches: shorter side to 256/224 of the image size, centre crop."""

    source: Source
    spec: TrialSpec

    @property
    def count(self) -> int:
        return len(self.source.listing.labels)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """As in trainer.data.splits.Evaluation."""
        size = DATA_SETS[self.spec.dataset].evaluation_batch
        groups = torch.split(self.source.labels, size)
        pixels = self.source.batches(self._tasks(), [len(group) for group in groups], 0)
        for batch, labels in zip(pixels, groups, strict=True):
            yield self.source.normalise(batch), labels.to(self.source.device)

    def _tasks(self) -> Iterator[Shared]:
        side = image_size_of(self.spec)
        stream = self.source.stream("plain", side)
        for number, first in enumerate(range(0, self.count, CHUNK)):
            indices = range(first, min(first + CHUNK, self.count))
            yield Shared(Plain(self.source.listing.images(indices), side), stream, number)
