"""The test metrics: one pass without gradients, sums kept on the device and read once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.data.splits import Evaluation
from trainer.exchange import ALONE, Ranks

TOP = 5


def evaluate(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    split: Evaluation,
    classes: int,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """`test/loss` (mean cross-entropy) and `test/accuracy` in %, with top 5 where classes > 5.

    `forward` maps images [b, 3, side, side] to fp32 logits [b, classes]; `model` is in eval mode
    meanwhile, so that BatchNorm uses its running statistics. `ranks`: with whom the batches are
    shared, who call `batch_sums` and gather, too.
    """
    return evaluate_many(model, lambda images: [forward(images)], split, classes, ranks)[0]


def evaluate_many(
    model: nn.Module,
    forwards: Callable[[Tensor], Iterable[Tensor]],
    split: Evaluation,
    classes: int,
    ranks: Ranks = ALONE,
) -> list[dict[str, float]]:
    """The same for several networks at once: `forwards` gives the logits of each."""
    sums = ranks.gathered(batch_sums(model, forwards, split, ranks))
    totals = functools.reduce(torch.add, sums)
    return [_metrics(total / split.count, classes) for total in totals]


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


def _metrics(means: Tensor, classes: int) -> dict[str, float]:
    loss, top1, top5 = means.tolist()
    metrics = {"test/loss": loss, "test/accuracy": 100 * top1}
    return metrics | ({"test/accuracy_top5": 100 * top5} if classes > TOP else {})


def _sums(logits: Tensor, labels: Tensor) -> Tensor:
    loss = F.cross_entropy(logits, labels, reduction="sum")
    best = logits.topk(min(TOP, logits.shape[1])).indices == labels[:, None]
    return torch.stack([loss.double(), best[:, 0].sum().double(), best.sum().double()])
