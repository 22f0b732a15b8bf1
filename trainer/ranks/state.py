"""What all ranks of a trial begin with: the leader's position, values, statistics, momentum."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch

from trainer.errors import TrainerError
from trainer.learner import Learner


@dataclass(frozen=True)
class Position:
    """Where training stands: whole epochs, updates in the next one, updates in all, and whether the
    network has been evaluated there."""

    epochs_done: int
    step_in_epoch: int
    step: int
    evaluated: bool


def share_state(learner: Learner, position: Position) -> Position:
    """Called by every rank at once: the leader's position; overwrites a follower's state.

    Raises TrainerError where a follower has built another network.
    """
    device, ranks = learner.device, learner.ranks
    here = torch.tensor([int(value) for value in astuple(position)], device=device)
    digest = torch.tensor(list(learner.initial.digest.encode()), device=device)
    own = digest.clone()
    ranks.share([here, digest])
    if not torch.equal(own, digest):
        raise TrainerError(
            "the initial weights differ between two processes of the trial; does the network "
            "depend on more than its seed?"
        )
    flat = learner.flat
    ranks.share([flat.values, flat.statistics, *learner.optimizer.buffers])
    flat.publish()
    epochs_done, step_in_epoch, step, evaluated = here.tolist()
    return Position(epochs_done, step_in_epoch, step, bool(evaluated))
