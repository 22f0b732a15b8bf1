"""Several trials in one program: who is trained together, in which form, and who follows alone.

A member computes the same operations on the same numbers as it would alone, so its bits are those
of a trial alone, and it may leave, stop or resume by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch

from trainer import checkpoint, grouping
from trainer.errors import OutOfMemory
from trainer.packs.members import Member, Outcome
from trainer.packs.shared_forward import SharedForward
from trainer.packs.streams import Streams
from trainer.train import Options, train

__all__ = ["Member", "train_pack"]

_log = logging.getLogger(__name__)


def train_pack(members: Sequence[Member], options: Options) -> list[Outcome]:
    """Train all members; the outcome of each, in order, and never an exception.

    Members that `grouping.groups` puts together are trained together, on streams only on a GPU; the
    groups follow one another. A TrainerError is the member's own; what breaks a shared forward (as
    OutOfMemory) is the outcome of all who were in it, and a smaller pack may mend it.
    """
    specs = [member.spec for member in members]
    on_gpu = options.device != "cpu" and torch.cuda.is_available()
    outcomes: dict[int, Outcome] = {}
    for indices in grouping.groups(specs, max(1, len(members)), streams=on_gpu):
        outcomes.update(_train_together({index: members[index] for index in indices}, options))
    return [outcomes[index] for index in range(len(members))]


def _train_together(members: dict[int, Member], options: Options) -> dict[int, Outcome]:
    if len(members) == 1:
        return {index: _train_alone(member, options) for index, member in members.items()}
    if grouping.share_a_forward([member.spec for member in members.values()]):
        return SharedForward(members, options).run()
    return _train_on_streams(members, options)


def _train_on_streams(members: dict[int, Member], options: Options) -> dict[int, Outcome]:
    """Those that found no memory beside the others go on after them, each alone."""
    outcomes = Streams(members, options).run()
    for index, outcome in outcomes.items():
        if isinstance(outcome, OutOfMemory):
            _log.warning("%s goes on alone: %s", members[index].spec.trial_id, outcome)
            outcomes[index] = _train_alone(members[index], options, begun=True)
    return outcomes


def _train_alone(member: Member, options: Options, begun: bool = False) -> Outcome:
    """`begun`: the member may have left a checkpoint in its folder."""
    try:
        if begun:
            left = checkpoint.find([member.folder], member.spec, options.pretrained)
            member = replace(member, resume=left or member.resume)
        return train(
            member.spec,
            member.folder,
            attempt=member.attempt,
            resume=member.resume,
            options=member.options(options),
        )
    except Exception as error:
        return error
