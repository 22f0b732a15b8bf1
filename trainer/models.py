"""A trial's network, and what each of its parameters is (DESIGN §8).

A parameter's role follows from the type of its module and from where the network put it, so that
a new network needs no list of names: see networks.py for `mark`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from trainer import initialise, pretrained
from trainer.errors import DataError, SpecError
from trainer.networks import BUILDERS, Place
from trainer.results import Counts
from trainer.spec import TrialSpec, image_size_of

Kind = Literal["conv_weight", "linear_weight", "bias", "gamma", "beta"]


@dataclass(frozen=True)
class Role:
    """What a parameter is: `bias` is a conv's or the linear layer's; β is not a `bias` here."""

    kind: Kind
    place: Place

    @property
    def bn(self) -> bool:
        """Whether it belongs to a BatchNorm."""
        return self.kind in ("gamma", "beta")


def build(spec: TrialSpec, weights: Path | None = None) -> nn.Module:
    """The spec's network: on the CPU, fp32, contiguous, initialised from the seed alone.

    The freezing mode has no part in it: the modes of one seed begin with the same weights.
    `weights`: the file that a spec with `weights: pretrained` names by its sha256; an output layer
    for other classes keeps its initial values. Raises DataError where it is missing or misfits.
    """
    with torch.device("meta"):
        model = BUILDERS[spec.model](spec)
    model.to_empty(device="cpu")
    initialise.initialise(model, spec)
    if spec.weights == "pretrained":
        if weights is None:
            raise DataError(f"weights: no file given for sha256 {spec.weights_sha256[:12]}…")
        pretrained.load(model, weights, spec.weights_sha256, _output(model))
    return model


def check_last_batch(spec: TrialSpec, images: int) -> None:
    """Raise SpecError where an epoch of `images` ends with a batch that BatchNorm cannot take.

    It needs two values for each channel, and at 32 pixels an `imagenet_resnet` ends in one pixel.
    """
    last = images % spec.batch_size or spec.batch_size
    if last == 1 and spec.model == "imagenet_resnet" and image_size_of(spec) == 32:
        raise SpecError(
            f"batch_size: {images} images in batches of {spec.batch_size} leave a batch of one, of "
            "which BatchNorm has no variance at image_size 32; change batch_size or train_subset"
        )


def _output(model: nn.Module) -> frozenset[str]:
    return frozenset(name for name, role in roles(model).items() if role.place == "output")


def roles(model: nn.Module) -> dict[str, Role]:
    """The role of every parameter, by its name in `model.named_parameters()`."""
    found: dict[str, Role] = {}
    _collect(model, "", "body", found)
    return found


def _collect(module: nn.Module, prefix: str, place: Place, found: dict[str, Role]) -> None:
    place = getattr(module, "place", place)
    for name, _ in module.named_parameters(recurse=False):
        found[prefix + name] = Role(_kind(module, name), place)
    for name, child in module.named_children():
        _collect(child, f"{prefix}{name}.", place, found)


def _kind(module: nn.Module, name: str) -> Kind:
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return "gamma" if name == "weight" else "beta"
    if name == "bias":
        return "bias"
    return "linear_weight" if isinstance(module, nn.Linear) else "conv_weight"


def counts(model: nn.Module, trainable: int) -> Counts:
    """Parameter counts as in the paper's Table 1; `trainable` counts single elements."""
    sizes = [(role, model.get_parameter(name).numel()) for name, role in roles(model).items()]
    return Counts(
        total=sum(size for _, size in sizes),
        trainable=trainable,
        bn=sum(size for role, size in sizes if role.bn),
        output=sum(size for role, size in sizes if role.place == "output"),
        shortcut=sum(
            size for role, size in sizes if role.place == "shortcut" and role.kind == "conv_weight"
        ),
    )
