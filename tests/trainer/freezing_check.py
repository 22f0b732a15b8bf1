"""Steps of a real Learner, and whether they changed what trains and nothing else, bit for bit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer import freezing
from trainer.learner import Learner
from trainer.modes import MODES
from trainer.networks import roles
from trainer.spec import TrialSpec
from trainer.weights import initial

RATE = 0.1


def batch(side: int = 8) -> tuple[Tensor, Tensor]:
    """Images [8, 3, side, side] and labels, always the same."""
    images = torch.rand(8, 3, side, side, generator=torch.Generator().manual_seed(1))
    return images.contiguous(memory_format=torch.channels_last), torch.arange(8)


def two_steps(learner: Learner, side: int = 8) -> None:
    """The second step is the first that momentum has a part in."""
    learner.model.train()
    for number in range(2):
        learner.step(*batch(side), RATE, number)


def check_two_steps(learner: Learner, side: int = 8) -> None:
    """Take two steps; an AssertionError names the tensor that moved, or that did not.

    What trains is asked of the mode and the seed, not of the learner, whose own view of it may be
    what is wrong. A trained tensor or element may stay where the freeze proof finds it stuck.
    """
    before = _bits(learner.model)
    two_steps(learner, side)
    after = _bits(learner.model)
    trains = _trained_elements(learner.spec)
    for name, mask in trains.items():
        moved = int((before[name] != after[name])[~mask].sum())
        assert moved == 0, f"{name}: {moved} frozen elements changed"
    proof = freezing.prove(
        learner.initial, learner.model, learner.trained, lambda: batch(side), RATE
    )
    for name, mask in trains.items():
        stayed = (before[name] == after[name])[mask]
        assert name in proof["stuck"] or not mask.any() or not stayed.all(), f"{name}: unchanged"
        if 0 < mask.sum() < len(mask):
            stuck = proof["stuck_elements"].get(name, 0)
            assert stayed.sum() == stuck, f"{name}: {int(stayed.sum())} trained elements unchanged"


def _bits(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.detach().clone().contiguous().flatten().view(torch.int32)
        for name, parameter in model.named_parameters()
    }


def _trained_elements(spec: TrialSpec) -> dict[str, Tensor]:
    """For each parameter, in its own order, whether the element trains."""
    model = initial.build(spec)
    indices = freezing.freeze(model, spec).indices
    trains = {}
    for name, role in roles.roles_of(model).items():
        size = model.get_parameter(name).numel()
        trains[name] = torch.full((size,), MODES[spec.trainable](role))
        if name in indices:
            trains[name] = torch.zeros(size, dtype=torch.bool)
            trains[name][indices[name]] = True
    return trains
