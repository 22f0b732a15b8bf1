"""Test and validation metrics: a pass without gradients, sums kept on the device and read once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.data.splits import Evaluation
from trainer.exchange import ALONE, Ranks

TOP = 5


def evaluate(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    splits: Mapping[str, Evaluation],
    classes: int,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Of each split, such as `test`: `test/loss` (mean cross-entropy) and `test/accuracy` in %,
    with top 5 where classes > 5.

    `forward` maps images [b, 3, side, side] to fp32 logits [b, classes]; `model` is in eval mode
    meanwhile, so that BatchNorm uses its running statistics. `ranks`: with whom the batches are
    shared, who call `batch_sums` and gather, too.
    """
    return evaluate_many(model, lambda images: [forward(images)], splits, classes, ranks)[0]


def evaluate_many(
    model: nn.Module,
    forwards: Callable[[Tensor], Iterable[Tensor]],
    splits: Mapping[str, Evaluation],
    classes: int,
    ranks: Ranks = ALONE,
) -> list[dict[str, float]]:
    """The same for several networks at once: `forwards` gives the logits of each."""
    found: list[dict[str, float]] = []
    for name, split in splits.items():
        sums = ranks.gathered(batch_sums(model, forwards, split, ranks))
        totals = functools.reduce(torch.add, sums)
        of_split = [_metrics(name, total / split.count, classes) for total in totals]
        found = [a | b for a, b in zip(found, of_split, strict=True)] if found else of_split
    return found


def batch_sums(
    model: nn.Module,
    forwards: Callable[[Tensor], Iterable[Tensor]],
    split: Evaluation,
    ranks: Ranks = ALONE,
) -> list[Tensor]:
    """[networks, 3] for each batch that is this rank's: loss, hits, hits among the best five,
    summed, float64."""
    model.eval()
    with torch.inference_mode():
        return [
            torch.stack([_sums(logits, labels) for logits in forwards(images)])
            for number, (images, labels) in enumerate(split.batches())
            if number % ranks.size == ranks.rank
        ]


def _metrics(split: str, means: Tensor, classes: int) -> dict[str, float]:
    loss, top1, top5 = means.tolist()
    metrics = {f"{split}/loss": loss, f"{split}/accuracy": 100 * top1}
    return metrics | ({f"{split}/accuracy_top5": 100 * top5} if classes > TOP else {})


def _sums(logits: Tensor, labels: Tensor) -> Tensor:
    loss = F.cross_entropy(logits, labels, reduction="sum")
    best = logits.topk(min(TOP, logits.shape[1])).indices == labels[:, None]
    return torch.stack([loss.double(), best[:, 0].sum().double(), best.sum().double()])
