"""Which trials may be trained together in one program. No torch: the orchestrator asks, too."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from trainer.spec import TrialSpec

HEAD_FIELDS = frozenset(
    {
        "lr",
        "momentum",
        "nesterov",
        "weight_decay",
        "optimizer",
        "schedule",
        "milestones",
        "lr_decay",
        "restart_epochs",
        "warmup_epochs",
    }
)
"""What changes an output layer's training and neither the frozen network nor the batches."""

LARGEST = 32
"""Members of a pack under `auto`: each costs about half a hundredth of the shared forward."""


def groups(
    specs: Sequence[TrialSpec], pack: Literal["auto", "off"] | int = "auto"
) -> list[list[int]]:
    """Indices of `specs` in packs, each of trials that share a program; order is kept.

    Only `output_only` trials pack: with the same frozen network and the same batches they share
    one forward pass, where BatchNorm's statistics and the features do not depend on the output
    layer (performance.md B4). The others stand alone: on a CPU their fusion does not pay.
    `pack`: `off`, the most members of a pack, or `auto`, which takes packs where they are faster.
    """
    largest = {"auto": LARGEST, "off": 1}.get(str(pack)) or int(pack)
    shared: dict[str, list[int]] = {}
    for index, spec in enumerate(specs):
        shared.setdefault(_key(spec) or f"alone {index}", []).append(index)
    return sorted(part for members in shared.values() for part in _parts(members, largest))


def _key(spec: TrialSpec) -> str:
    """Equal for trials that may share a forward pass; empty for those that share nothing."""
    if spec.trainable != "output_only":
        return ""
    return spec.model_dump_json(exclude=set(HEAD_FIELDS))


def _parts(members: list[int], largest: int) -> list[list[int]]:
    """Parts of nearly equal lengths, none above `largest`."""
    count = -(-len(members) // largest)
    cuts = [len(members) * part // count for part in range(count + 1)]
    return [members[begin:end] for begin, end in itertools.pairwise(cuts)]
