"""Images of ImageNet's size on their way to training, beside torchvision's ImageFolder.

By CPU time, of all processes together: images a second for each core, which other work on the
machine does not change much. Workers and decoders have been started by an epoch that does not
count. The stock's batches are normalised fp32; ours are uint8, which the training's device
normalises, except where the name says that this was done on the CPU too.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from measuring import Case, interleave
from PIL import Image
from torchvision import datasets, transforms

from trainer.data import image_folder, prepared_images, splits
from trainer.data.decoders import Decoders
from trainer.data.decoding import choose
from trainer.errors import SpecError
from trainer.spec import TrialSpec

STOCK = "ImageFolder + DataLoader"
WORKERS, BATCH, TRIALS = 2, 64, 4
SPEC = TrialSpec(
    dataset="image_folder", data_id="generated", classes=2, image_size=224,
    model="imagenet_resnet", depth=18, batch_size=BATCH, crop_padding=0,
)  # fmt: skip
REDUCED = SPEC.changed(shorter_side=256)


def cases(rounds: int, images: int) -> Iterator[Case]:
    """One core; more decoders; four trials of a seed."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        size = _generate(root / SPEC.data_id, images)
        note = f"{images} generated JPEGs, 500x375, {size / 1000:.0f} kB on average"
        _prepare(root)
        case = Case("loading at 224 pixels, CPU time of all processes", "images/s", STOCK)
        case.goals = {"torchcodec": 2, "prepared copy": 6}
        case.notes = [note, f"{WORKERS} workers or decoders each"]
        ways: dict[str, Epochs] = {
            STOCK: Stock(root),
            "pil": Ours(root, SPEC),
            "prepared copy": Ours(root, REDUCED),
            "prepared copy, normalised": Ours(root, REDUCED.changed(seed=1), normalised=True),
        }
        if _has_torchcodec():
            ways["torchcodec"] = Ours(root, SPEC, decoder="torchcodec")
        variants = {name: functools.partial(_per_core, way, images) for name, way in ways.items()}
        yield interleave(case, variants, rounds)
        yield _scaling(root, rounds, images, note)
        yield _sharing(root, rounds, images, note)


class Epochs(Protocol):
    """A way of loading whose processes have started."""

    def epoch(self) -> None:
        """Get all batches of another epoch."""

    def pids(self) -> list[int]:
        """The processes that work for it."""


class Ours:
    """Two of one seed would share what they decode."""

    def __init__(
        self,
        root: Path,
        spec: TrialSpec,
        *,
        decoder: Any = "pil",
        count: int = WORKERS,
        normalised: bool = False,
    ) -> None:
        train: Any = splits.load(spec, root, workers=count, decoder=decoder).train
        if not normalised:
            source = replace(train.source, normalise=lambda pixels, _: pixels)
            train = replace(train, source=source)
        self.train, self.decoders = train, train.source.decoders
        self.number = 0
        self.epoch()

    def epoch(self) -> None:
        self.number += 1
        for _ in self.train.batches(self.number):
            pass

    def pids(self) -> list[int]:
        pids: list[int] = self.decoders.pids
        return pids


class Stock:
    def __init__(self, root: Path) -> None:
        steps = [
            transforms.RandomResizedCrop(224, scale=(0.1, 1), ratio=(0.8, 1.25)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
        folder = datasets.ImageFolder(str(root / SPEC.data_id / "train"), transforms.Compose(steps))
        self.loader = torch.utils.data.DataLoader(
            folder, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True
        )
        self.epoch()

    def epoch(self) -> None:
        for _ in self.loader:
            pass

    def pids(self) -> list[int]:
        workers: Any = self.loader._iterator
        return [worker.pid for worker in workers._workers]


def _per_core(way: Epochs, images: int) -> float:
    before = _cpu_s(way.pids())
    way.epoch()
    return images / (_cpu_s(way.pids()) - before)


def _cpu_s(pids: list[int]) -> float:
    """CPU time that this process and those have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _scaling(root: Path, rounds: int, images: int, note: str) -> Case:
    case = Case("decoders side by side, by the clock", "images/s", "1 decoder", notes=[note])
    ways = {
        f"{count} decoder{'s' * (count > 1)}": Ours(root, SPEC.changed(seed=1 + count), count=count)
        for count in (1, 2)
    }
    variants = {name: functools.partial(_rate, way, images) for name, way in ways.items()}
    return interleave(case, variants, rounds)


def _rate(way: Epochs, images: int) -> float:
    start = time.perf_counter()
    way.epoch()
    return images / (time.perf_counter() - start)


def _sharing(root: Path, rounds: int, images: int, note: str) -> Case:
    """Images that trials get for one that is decoded; each trial is a process with a decoder."""
    case = Case("trials of one seed side by side", "images trained for each decoded", "1 trial")
    case.goals = {f"{TRIALS} trials": 3.5}
    per_cpu: dict[int, list[float]] = {}
    seeds = itertools.count(10)

    def measured(trials: int) -> float:
        chunks, cpu_s = zip(*_side_by_side(root, trials, next(seeds)), strict=True)
        per_cpu.setdefault(trials, []).append(trials * images / sum(cpu_s))
        return trials * -(-images // image_folder.CHUNK) / sum(chunks)

    names = {"1 trial": 1, f"{TRIALS} trials": TRIALS}
    interleave(case, {name: functools.partial(measured, n) for name, n in names.items()}, rounds)
    gains = [many / one for one, many in zip(per_cpu[1], per_cpu[TRIALS], strict=True)]
    case.notes = [note, f"images for a second of CPU time: x{np.median(gains):.2f}"]
    return case


def _side_by_side(root: Path, trials: int, seed: int) -> list[tuple[int, float]]:
    """What each trial's decoder has decoded itself, in chunks, and the trial's CPU time."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(trials) as pool:
        return pool.starmap(_trial, [(root, seed)] * trials, chunksize=1)


def _trial(root: Path, seed: int) -> tuple[int, float]:
    torch.set_num_threads(1)
    way = Ours(root, SPEC.changed(seed=seed), count=1)
    before = way.decoders.decoded, _cpu_s(way.pids())
    way.epoch()
    return way.decoders.decoded - before[0], _cpu_s(way.pids()) - before[1]


def _has_torchcodec() -> bool:
    try:
        return choose("torchcodec") == "torchcodec"
    except SpecError:
        return False


def _prepare(root: Path) -> None:
    decoders = Decoders(WORKERS)
    files = image_folder.scan(SPEC, root)
    digest = image_folder.digest(files, root, decoders)
    train, test = (
        image_folder.Listing(split.folder, split.files, split.labels, shorter_side=256)
        for split in files
    )
    prepared_images.make(REDUCED, root, (train, test), digest, decoders, lambda _: None)


def _generate(folder: Path, count: int) -> float:
    """Two classes of smooth noise under fine noise; the mean size in bytes."""
    draw, sizes = np.random.default_rng(0), []
    for split, number in (("train", count), ("val", 4)):
        for index in range(number):
            path = folder / split / f"class{index % 2}" / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(draw.integers(0, 256, (62, 83, 3), dtype=np.uint8))
            smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC))
            pixels = smooth + draw.normal(0, 9, smooth.shape)
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=92)
            sizes.append(path.stat().st_size)
    return sum(sizes) / len(sizes)
