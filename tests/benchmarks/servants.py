"""Worker processes that hold trials and train pieces of epochs when told to.

Start-up, imports and the data set's unpacking stay out of the measured time on both sides.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from stock import BATCH, Clock, StockTrial

from trainer.data import splits
from trainer.evaluate import evaluate
from trainer.learner import Learner
from trainer.spec import TrialSpec

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""What the launcher sets for its workers."""


class OurTrial:
    """One trial of the trainer; the same interface as StockTrial."""

    def __init__(self, depth: int, mode: str, precision: str, kernels: str, root: Path) -> None:
        fields = {"depth": depth, "trainable": mode, "precision": precision, "batch_size": BATCH}
        self.spec = TrialSpec.model_validate(fields)
        self.data = splits.load(self.spec, root)
        self.learner = Learner(self.spec, torch.device("cpu"), kernels)  # type: ignore[arg-type]
        self.number = 0
        self.batches = self._endless()

    def _endless(self) -> Iterator[Any]:
        for epoch in itertools.count(1):
            yield from self.data.train.batches(epoch)

    def chunk(self, steps: int, clock: Clock = time.perf_counter) -> float:
        start = clock()
        self.learner.model.train()
        losses, hits = torch.zeros(steps), torch.zeros(steps)
        for step in range(steps):
            images, labels = next(self.batches)
            losses[step], hits[step] = self.learner.step(images, labels, 0.1, self.number)
            self.number += 1
        assert losses.isfinite().all()
        tested = {"test": self._test(steps * BATCH // 5)}
        evaluate(self.learner.model, self.learner.forward, tested, 10)
        return clock() - start

    def _test(self, images: int) -> Any:
        return _Part(self.data.test, images)


class _Part:
    """The first `count` images of the test split."""

    def __init__(self, split: Any, count: int) -> None:
        self.split, self.count = split, count

    def batches(self) -> Iterator[Any]:
        left = self.count
        for images, labels in itertools.islice(self.split.batches(), -(-left // self.split.batch)):
            yield images[:left], labels[:left]
            left -= len(labels)


def serve(pipe: Connection, threads: int, cpu_time: bool) -> None:
    """Build the trials that are asked for (once) and train pieces of them, until told to end."""
    torch.set_num_threads(threads)
    clock = time.process_time if cpu_time else time.perf_counter
    trials: dict[tuple[Any, ...], OurTrial | StockTrial] = {}
    while (order := pipe.recv()) is not None:
        kind, arguments, steps = order
        key = (kind, *arguments)
        if key not in trials:
            trials[key] = (OurTrial if kind == "ours" else StockTrial)(*arguments)
            trials[key].chunk(2)  # warm
        pipe.send(trials[key].chunk(steps, clock) if steps else 0.0)


class Servant:
    """A worker process with its own number of threads and environment.

    `cpu_time`: its seconds are those that it computed, not those that passed.
    """

    def __init__(
        self, threads: int, environment: dict[str, str] | None = None, cpu_time: bool = False
    ) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=serve, args=(theirs, threads, cpu_time), daemon=True)
        with _environment({**(environment or {}), "OMP_NUM_THREADS": str(threads)}):
            self.process.start()

    def ask(self, kind: str, arguments: tuple[Any, ...], steps: int) -> None:
        self.pipe.send((kind, arguments, steps))

    def answer(self) -> float:
        """Seconds that the piece took."""
        return float(self.pipe.recv())

    def close(self) -> None:
        with suppress(OSError):  # it may have ended with an error of its own
            self.pipe.send(None)
        self.process.join()


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Environment variables that a process started inside inherits."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def rate_together(servants: list[Servant], order: tuple[str, tuple[Any, ...], int]) -> float:
    """Training images a second of all servants, each at its own piece at the same time."""
    for servant in servants:  # all built before any is measured
        servant.ask(order[0], order[1], 0)
    for servant in servants:
        servant.answer()
    for servant in servants:
        servant.ask(*order)
    return sum(order[2] * BATCH / servant.answer() for servant in servants)
