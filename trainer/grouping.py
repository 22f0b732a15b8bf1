"""Which trials may be trained together in one program. No torch: the orchestrator asks, too."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from trainer.data_sets import data_set
from trainer.modes import trains_only_output
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

STEP_FIELDS = frozenset(
    {
        "model",
        "depth",
        "width",
        "dataset",
        "data_id",
        "classes",
        "image_size",
        "train_subset",
        "validation",
        "batch_size",
        "bn_batch",
        "epochs",
        "precision",
        "deterministic",
        "weights",
        "weights_sha256",
    }
)
"""What trials on streams have in common: steps of about one length, as many of them, torch's global
settings, and the file of pretrained weights. Any mode, seed or rate may be among them."""

ON_STREAMS = 4
"""Members on streams under `auto`: so many were measured on a GPU, at 1.7 times the images a second
of one after another; each brings its own memory."""

LARGEST = 32
"""Members of a pack under `auto`: each costs about half a hundredth of the shared forward."""


def groups(
    specs: Sequence[TrialSpec],
    pack: Literal["auto", "off"] | int = "auto",
    *,
    streams: bool = False,
) -> list[list[int]]:
    """Indices of `specs` in packs, each of trials that share a program; order is kept.

    `pack`: `off`, the most members of a pack, or `auto`, which takes packs where they were measured
    to be faster. Trials of which only the output layer trains share their forward passes, where
    they have the same frozen network and the same batches. With `streams` (each trial has a GPU),
    the others are packed too, those with steps of one length, each on a stream of its own; `auto`
    does so where the images lie in memory (those of a folder are limited by their decoding). On a
    CPU they stand alone: side by side they would only lose its cores. What is not built in always
    trains alone.
    """
    largest = {"auto": LARGEST, "off": 1}.get(str(pack)) or int(pack)
    on_streams = min(largest, ON_STREAMS) if pack == "auto" else largest
    bodies = [_body(spec) for spec in specs]
    sharing = {body for body, count in Counter(bodies).items() if body and count > 1}
    packs: dict[str, list[int]] = {}
    for index, (spec, body) in enumerate(zip(specs, bodies, strict=True)):
        may_take_turns = streams and not spec.own and (pack != "auto" or _in_memory(spec))
        other = _step(spec) if may_take_turns else f"alone {index}"
        packs.setdefault(body if body in sharing else other, []).append(index)
    return sorted(
        part
        for key, members in packs.items()
        for part in _parts(members, largest if key in sharing else on_streams)
    )


def apart_from_mode(spec: TrialSpec) -> str:
    """Equal for the modes of one seed, which start from the same weights and see the same batches:
    for trials that differ in what trains alone."""
    return spec.model_dump_json(exclude={"trainable", "k"})


def share_a_forward(specs: Sequence[TrialSpec]) -> bool:
    """Whether one forward pass serves all of them."""
    bodies = {_body(spec) for spec in specs}
    return len(bodies) == 1 and "" not in bodies


def _body(spec: TrialSpec) -> str:
    """Equal for trials that may share a forward pass; empty for those that share nothing."""
    if spec.own or not trains_only_output(spec.trainable):
        return ""
    return spec.model_dump_json(exclude=set(HEAD_FIELDS))


def _in_memory(spec: TrialSpec) -> bool:
    return data_set(spec.dataset).storage != "folder"


def _step(spec: TrialSpec) -> str:
    """Equal for trials that may take turns on streams."""
    return spec.model_dump_json(include=set(STEP_FIELDS))


def _parts(members: list[int], largest: int) -> list[list[int]]:
    """Parts of nearly equal lengths, none above `largest`."""
    count = -(-len(members) // largest)
    cuts = [len(members) * part // count for part in range(count + 1)]
    return [members[begin:end] for begin, end in itertools.pairwise(cuts)]
