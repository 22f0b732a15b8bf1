"""The test metrics: one pass without gradients, sums kept on the device and read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.data.splits import Evaluation

TOP = 5


def evaluate(
    model: nn.Module, forward: Callable[[Tensor], Tensor], split: Evaluation, classes: int
) -> dict[str, float]:
    """`test/loss` (mean cross-entropy) and `test/accuracy` in %, with top 5 where classes > 5.

    `forward` maps images [b, 3, side, side] to fp32 logits [b, classes]; `model` is in eval mode
    meanwhile, so that BatchNorm uses its running statistics.
    """
    return evaluate_many(model, lambda images: [forward(images)], split, classes)[0]


def evaluate_many(
    model: nn.Module,
    forwards: Callable[[Tensor], Iterable[Tensor]],
    split: Evaluation,
    classes: int,
) -> list[dict[str, float]]:
    """The same for several networks at once: `forwards` gives the logits of each."""
    model.eval()
    sums: list[Tensor] = []
    with torch.inference_mode():
        for images, labels in split.batches():
            found = [_batch_sums(logits, labels) for logits in forwards(images)]
            sums = [sum_ + new for sum_, new in zip(sums, found, strict=True)] if sums else found
    return [_metrics(total / split.count, classes) for total in sums]


def _metrics(means: Tensor, classes: int) -> dict[str, float]:
    loss, top1, top5 = means.tolist()
    metrics = {"test/loss": loss, "test/accuracy": 100 * top1}
    return metrics | ({"test/accuracy_top5": 100 * top5} if classes > TOP else {})


def _batch_sums(logits: Tensor, labels: Tensor) -> Tensor:
    """[loss, hits, hits among the best five] summed over a batch, float64."""
    loss = F.cross_entropy(logits, labels, reduction="sum")
    best = logits.topk(min(TOP, logits.shape[1])).indices == labels[:, None]
    return torch.stack([loss.double(), best[:, 0].sum().double(), best.sum().double()])
