from __future__ import annotations

import math

import pytest
import torch
from small_trials import small

from trainer import optim
from trainer.spec import TrialSpec

OPTIMIZERS = [
    ({"optimizer": "sgd"}, torch.optim.SGD, {"momentum": 0.9}),
    ({"optimizer": "sgd", "momentum": 0.0}, torch.optim.SGD, {}),
    (
        {"optimizer": "sgd", "nesterov": True},
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True},
    ),
    ({"optimizer": "adam"}, torch.optim.Adam, {"betas": (0.9, 0.999)}),
    ({"optimizer": "adamw"}, torch.optim.AdamW, {"betas": (0.9, 0.999)}),
]


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize(("fields", "kind", "arguments"), OPTIMIZERS)
def test_an_optimizer_follows_torch_s_step_by_step(fields, kind, arguments, decay) -> None:
    spec = TrialSpec(**fields, weight_decay=decay)
    start = torch.randn(50, generator=torch.Generator().manual_seed(0))
    theirs = start.clone().requires_grad_()
    reference = kind([theirs], lr=0.1, weight_decay=decay, **arguments)
    values = start.clone()
    optimizer = optim.build(spec, values)
    for step in range(5):
        gradient = torch.randn(50, generator=torch.Generator().manual_seed(step + 1))
        theirs.grad = gradient.clone()
        reference.step()
        optimizer.update(values, gradient, 0.1, step)
        torch.testing.assert_close(values, theirs.detach(), rtol=1e-6, atol=1e-6)


def rates(spec: TrialSpec, steps_per_epoch: int = 4) -> list[float]:
    """The rate of the first step of every epoch."""
    return [
        optim.lr(spec, epoch * steps_per_epoch, steps_per_epoch) for epoch in range(spec.epochs)
    ]


def test_the_step_schedule_falls_at_its_milestones_and_not_one_step_earlier() -> None:
    spec = TrialSpec(epochs=160)
    assert optim.lr(spec, 80 * 391 - 1, 391) == 0.1
    assert optim.lr(spec, 80 * 391, 391) == pytest.approx(0.01)
    assert optim.lr(spec, 120 * 391, 391) == pytest.approx(0.001)


def test_warm_up_rises_from_zero_by_iteration_and_multiplies_the_schedule() -> None:
    spec = TrialSpec(epochs=4, warmup_epochs=2, milestones=(1,), lr=0.8)
    rates = [optim.lr(spec, step, 4) for step in range(9)]
    assert rates[:4] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert rates[4:] == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.08])


def test_the_cosine_falls_from_lr_after_warm_up_to_zero_after_the_last_step() -> None:
    spec = TrialSpec(epochs=5, warmup_epochs=1, schedule="cosine", lr=1.0)
    assert optim.lr(spec, 4, 4) == 1.0
    assert optim.lr(spec, 12, 4) == pytest.approx(0.5)
    assert optim.lr(spec, 19, 4) == pytest.approx((1 + math.cos(math.pi * 15 / 16)) / 2)


def test_cosine_restarts_return_to_lr_every_period() -> None:
    spec = TrialSpec(epochs=4, schedule="cosine_restarts", restart_epochs=2, lr=1.0)
    assert rates(spec) == pytest.approx([1.0, 0.5, 1.0, 0.5])


def test_the_exponential_schedule_decays_after_each_whole_epoch() -> None:
    spec = TrialSpec(epochs=4, schedule="exponential", lr_decay=0.5, warmup_epochs=1, lr=1.0)
    assert rates(spec) == pytest.approx([0.0, 1.0, 0.5, 0.25])
    assert optim.lr(spec, 7, 4) == 1.0


def test_the_constant_schedule_is_constant() -> None:
    assert set(rates(small(schedule="constant", epochs=3))) == {0.1}
