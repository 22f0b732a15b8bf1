"""What each parameter of a built network is.

A parameter's role follows from the type of its module and from where the network put it, so that
a new network needs no list of names (`mark` in blocks.py).
"""

from __future__ import annotations

from torch import nn

from trainer.modes import Counts, Kind, Place, Role, count


def roles_of(model: nn.Module) -> dict[str, Role]:
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
    roles = roles_of(model).items()
    return count(((role, model.get_parameter(name).numel()) for name, role in roles), trainable)
