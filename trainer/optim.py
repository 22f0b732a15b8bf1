"""Learning rates as a pure function of the step, and optimizers over one flat vector.

The vector holds the trained elements and nothing else, so that weight decay and momentum cannot
touch what is frozen (also in random_k, where single elements of a tensor train).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from trainer.spec import TrialSpec

BETA2, EPSILON = 0.999, 1e-8
"""Adam's; its β1 is the spec's `momentum`."""


def lr(spec: TrialSpec, step: int, steps_per_epoch: int) -> float:
    """The learning rate of update number `step` (from 0).

    Warm-up is linear from 0 by iteration and multiplies what the schedule gives; cosine schedules
    begin where it ends. `exponential` multiplies by `lr_decay` after each whole epoch.
    """
    warmup = spec.warmup_epochs * steps_per_epoch
    rate = spec.lr * min(1.0, step / warmup) if warmup else spec.lr
    if spec.schedule == "step":
        passed = sum(step >= milestone * steps_per_epoch for milestone in spec.milestones)
        return rate * spec.lr_decay**passed
    after = max(0, step - warmup)
    if spec.schedule == "exponential":
        return rate * spec.lr_decay ** (after // steps_per_epoch)
    if spec.schedule == "cosine":
        length = (spec.epochs - spec.warmup_epochs) * steps_per_epoch
        return rate * _cosine(after / max(length, 1))  # no epochs: only a record of the beginning
    if spec.schedule == "cosine_restarts":
        length = spec.restart_epochs * steps_per_epoch
        return rate * _cosine(after % length / length)
    return rate


def _cosine(progress: float) -> float:
    """From 1 at progress 0 to 0 at progress 1."""
    return (1 + math.cos(math.pi * progress)) / 2


class Optimizer(Protocol):
    """Updates a vector in place; `buffers` are all that it remembers, for the checkpoint."""

    buffers: list[Tensor]

    def update(self, values: Tensor, gradient: Tensor, rate: float, step: int) -> None:
        """One update of `values` (may overwrite `gradient`); `step` counts updates from 0."""


class SGD:
    """torch.optim.SGD's arithmetic: decay added to the gradient, momentum without dampening."""

    def __init__(self, spec: TrialSpec, like: Tensor) -> None:
        self.decay, self.momentum, self.nesterov = spec.weight_decay, spec.momentum, spec.nesterov
        self.buffers = [torch.zeros_like(like)] if self.momentum else []

    def update(self, values: Tensor, gradient: Tensor, rate: float, step: int) -> None:  # noqa: ARG002
        direction = gradient.add_(values, alpha=self.decay) if self.decay else gradient
        if self.momentum:
            velocity = self.buffers[0].mul_(self.momentum).add_(direction)
            direction = direction.add_(velocity, alpha=self.momentum) if self.nesterov else velocity
        values.add_(direction, alpha=-rate)


class Adam:
    """torch.optim.Adam's arithmetic, and AdamW's where the decay is decoupled."""

    def __init__(self, spec: TrialSpec, like: Tensor) -> None:
        self.decay, self.beta1 = spec.weight_decay, spec.momentum
        self.decoupled = spec.optimizer == "adamw"
        self.buffers = [torch.zeros_like(like), torch.zeros_like(like)]

    def update(self, values: Tensor, gradient: Tensor, rate: float, step: int) -> None:
        if self.decay and self.decoupled:
            values.mul_(1 - rate * self.decay)
        elif self.decay:
            gradient = gradient.add_(values, alpha=self.decay)
        mean, square = self.buffers
        mean.lerp_(gradient, 1 - self.beta1)
        square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        bias1, bias2 = 1 - self.beta1 ** (step + 1), 1 - BETA2 ** (step + 1)
        scale = (square.sqrt() / math.sqrt(bias2)).add_(EPSILON)
        values.addcdiv_(mean, scale, value=-rate / bias1)


def build(spec: TrialSpec, like: Tensor) -> Optimizer:
    """The spec's optimizer for a vector of the length, type and device of `like`."""
    return SGD(spec, like) if spec.optimizer == "sgd" else Adam(spec, like)
