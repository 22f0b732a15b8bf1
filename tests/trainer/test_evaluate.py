from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from trainer.evaluate import evaluate

LABELS = torch.tensor([0, 1, 2, 3, 4, 5, 6])


@dataclass
class Split:
    """Seven images whose only pixel is their number, in batches of three."""

    count: int = 7

    def batches(self):
        for first in (0, 3, 6):
            numbers = torch.arange(first, min(first + 3, 7))
            yield numbers.float().view(-1, 1, 1, 1), LABELS[numbers]


def scores(images: Tensor) -> Tensor:
    """Image n scores n and its neighbours: right for the even, second for the odd."""
    numbers = images.view(-1).long()
    logits = torch.zeros(len(numbers), 7)
    logits[torch.arange(len(numbers)), numbers] = 1.0
    odd = numbers % 2 == 1
    logits[odd, numbers[odd] - 1] = 2.0
    return logits


def test_loss_and_accuracies_are_means_over_images_not_over_batches() -> None:
    metrics = evaluate(nn.Linear(1, 1), scores, {"test": Split()}, classes=7)
    images = torch.arange(7).float().view(-1, 1, 1, 1)
    expected = nn.functional.cross_entropy(scores(images), LABELS)
    assert metrics["test/loss"] == pytest.approx(float(expected), rel=1e-6)
    assert metrics["test/accuracy"] == pytest.approx(100 * 4 / 7)
    assert metrics["test/accuracy_top5"] == pytest.approx(100)


def test_top_five_is_left_out_where_it_means_nothing() -> None:
    def first_four(images: Tensor) -> Tensor:
        return torch.zeros(len(images), 7)

    assert "test/accuracy_top5" not in evaluate(
        nn.Linear(1, 1), first_four, {"test": Split()}, classes=5
    )


def test_the_model_is_in_evaluation_mode_and_nothing_is_recorded_for_a_gradient() -> None:
    model = nn.Sequential(nn.BatchNorm1d(7))
    model.train()
    seen: list[bool] = []

    def forward(images: Tensor) -> Tensor:
        logits = model(scores(images))
        seen.append(model.training or logits.requires_grad)
        return logits

    evaluate(model, forward, {"test": Split()}, classes=7)
    assert seen == [False] * 3
    assert torch.equal(model[0].running_mean, torch.zeros(7))
