"""Test images for measurements after training: few enough that they cost little of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trainer.data.splits import Batch, Data, Evaluation
from trainer.data_sets import DATA_SETS
from trainer.grouping import LARGEST
from trainer.modes import trains_below_output, trains_only_output
from trainer.numerics import autocast
from trainer.spec import TrialSpec

SHARE_OF_TRAINING = 0.04
FEWEST_IMAGES = 32


class ProbeImages:
    """Test images in batches: all, or as many, evenly spaced, as the budget allows each pass."""

    def __init__(self, spec: TrialSpec, data: Data, device: torch.device, passes: int) -> None:
        self.spec, self.device, self.split = spec, device, data.test
        wanted = max(FEWEST_IMAGES, budget(spec, data) // max(passes, 1))
        self.stride = max(1, math.ceil(data.test.count / wanted))
        self.count = len(range(0, data.test.count, self.stride))
        size = DATA_SETS[spec.dataset].evaluation_batch
        self._kept: list[Batch] = _spaced(data.test, self.stride, size) if self.stride > 1 else []

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The same images in the same order at each pass."""
        return iter(self._kept) if self._kept else self.split.batches()

    def forward(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Logits [b, classes], without gradients."""
        with torch.inference_mode(), autocast(self.spec, self.device):
            logits: Tensor = model(batch)
        return logits

    def accuracy(self, model: nn.Module) -> float:
        """Share of the images that are classified right, in %."""
        hits = torch.zeros((), dtype=torch.int64, device=self.device)
        for batch, labels in self.batches():
            hits += (self.forward(model, batch).argmax(1) == labels).sum()
        return 100 * float(hits) / self.count


def budget(spec: TrialSpec, data: Data) -> int:
    """Forward passes of single images that cost at most 4 % of the training.

    Counted, not timed, so that a trial's probes do not depend on the machine's load. A trained
    image costs at least two forward passes where a backward pass goes through the network.
    Trials of which only the output layer trains may share their forward in a pack, so each has a
    member's share.
    """
    passes = 2 if trains_below_output(spec.trainable) else 1
    per_epoch = passes * data.train.count + data.test.count
    members = LARGEST if trains_only_output(spec.trainable) else 1
    return int(SHARE_OF_TRAINING * spec.epochs * per_epoch / members)


def _spaced(split: Evaluation, stride: int, size: int) -> list[Batch]:
    """Every `stride`-th image of the split, in batches of `size`: not the first ones, which may be
    of one class."""
    batches, first = [], 0
    for images, labels in split.batches():
        batches.append((images[first::stride].clone(), labels[first::stride].clone()))
        first = (first - len(labels)) % stride
    kept = torch.cat([images for images, _ in batches])
    labels = torch.cat([labels for _, labels in batches])
    return [(kept[i : i + size], labels[i : i + size]) for i in range(0, len(labels), size)]
