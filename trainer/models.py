"""A trial's network, and what each of its parameters is (DESIGN §8).

A parameter's role follows from the type of its module and from where the network put it, so that
a new network needs no list of names: see networks.py for `mark`.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from trainer import initialise
from trainer.errors import DataError
from trainer.networks import BUILDERS, Place
from trainer.results import Counts
from trainer.spec import TrialSpec

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


def build(spec: TrialSpec) -> nn.Module:
    """The spec's network: on the CPU, fp32, contiguous, initialised from the seed alone.

    The freezing mode has no part in it: the modes of one seed begin with the same weights.
    """
    with torch.device("meta"):
        model = BUILDERS[spec.model](spec)
    model.to_empty(device="cpu")
    initialise.initialise(model, spec)
    return model


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
        shortcut=sum(size for role, size in sizes if role.place == "shortcut" and not role.bn),
    )


def load_pretrained(model: nn.Module, path: Path, sha256: str) -> None:
    """Fill `model` from a state dict in a file (torchvision's, or a bnsweep export).

    An output layer of another size keeps its own initial values: fine-tuning on other classes.
    Raises DataError where the file is missing, is not the one the spec names, or does not fit.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"weights {path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"weights {path}: is another file than the sweep named (sha256 differs)")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        given = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    except Exception as error:  # torch.load raises many types; all mean the same here
        raise DataError(f"weights {path}: not a state dict that torch can load safely") from error
    _fill(model, given, path)


def _fill(model: nn.Module, given: dict[str, Tensor], path: Path) -> None:
    own = model.state_dict()
    places = roles(model)
    missing = sorted(own.keys() - given.keys())
    unknown = sorted(given.keys() - own.keys())
    if missing or unknown:
        first = f"lacks {missing[0]}" if missing else f"has {unknown[0]}, which this network lacks"
        raise DataError(f"weights {path}: do not fit this network: {first}")
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape == given[name].shape:
                tensor.copy_(given[name])
            elif name not in places or places[name].place != "output":
                shapes = f"{list(given[name].shape)}, not {list(tensor.shape)}"
                raise DataError(f"weights {path}: do not fit this network: {name} is {shapes}")
