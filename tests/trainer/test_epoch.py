from __future__ import annotations

import pytest
import torch

from trainer.epoch import Epoch
from trainer.errors import Diverged


def epoch(losses: list[float], hits: list[float]) -> Epoch:
    """Ten images in batches of four: the last batch has two."""
    made = Epoch(10, 4, torch.device("cpu"))
    for step, (loss, count) in enumerate(zip(losses, hits, strict=True)):
        made.note(step, torch.tensor(loss), torch.tensor(count))
    return made


def test_the_means_weigh_a_short_batch_by_its_images() -> None:
    metrics = epoch([1.0, 2.0, 4.0], [4, 2, 1]).metrics(1, None)
    assert metrics == {"train/loss": (4 * 1 + 4 * 2 + 2 * 4) / 10, "train/accuracy": 70.0}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(("step", "last"), [(0, 0.5), (1, 1.0), (2, 2.0)])
def test_the_first_loss_that_is_not_finite_is_reported_with_the_one_before(bad, step, last) -> None:
    losses = [1.0, 2.0, 4.0]
    losses[step:] = [bad] * (3 - step)
    with pytest.raises(Diverged) as caught:
        epoch(losses, [0, 0, 0]).metrics(7, 0.5)
    assert (caught.value.epoch, caught.value.step) == (7, step)
    assert caught.value.last_loss == last


def test_an_epoch_entered_in_the_middle_counts_its_first_steps_too() -> None:
    whole, resumed = epoch([1.0, 2.0, 4.0], [4, 2, 1]), epoch([], [])
    resumed.restore(whole.losses[:2], whole.hits[:2])
    resumed.note(2, torch.tensor(4.0), torch.tensor(1))
    assert resumed.metrics(1, None) == whole.metrics(1, None)
