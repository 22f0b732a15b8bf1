"""What each parameter of a built network is.

A parameter's role follows from the type of its module and from where the network put it, so that
a new network needs no list of names (`mark` in blocks.py).
"""

from __future__ import annotations

from torch import nn

from trainer.modes import Counts, Kind, Norm, Place, Role, count


def roles_of(model: nn.Module) -> dict[str, Role]:
    """The role of every parameter, by its name in `model.named_parameters()`."""
    found: dict[str, Role] = {}
    _collect(model, "", "body", found)
    return found


def _collect(module: nn.Module, prefix: str, place: Place, found: dict[str, Role]) -> None:
    place = getattr(module, "place", place)
    for name, _ in module.named_parameters(recurse=False):
        kind = _kind(module, name)
        norm = norm_of(module) if kind in ("gamma", "beta") else None
        found[prefix + name] = Role(kind, place, norm or "batch", prefix + name)
    for name, child in module.named_children():
        _collect(child, f"{prefix}{name}.", place, found)


_NORMS: tuple[tuple[type[nn.Module], Norm], ...] = (
    (nn.modules.batchnorm._BatchNorm, "batch"),
    (nn.modules.instancenorm._InstanceNorm, "instance"),
    (nn.LayerNorm, "layer"),
    (nn.GroupNorm, "group"),
    (nn.RMSNorm, "rms"),
)


def norm_of(module: nn.Module) -> Norm | None:
    """Which normalisation a module is; None: it is none."""
    return next((norm for kind, norm in _NORMS if isinstance(module, kind)), None)


def _kind(module: nn.Module, name: str) -> Kind:
    if norm_of(module):
        return "gamma" if name == "weight" else "beta"
    if name.endswith("bias"):
        return "bias"
    if isinstance(module, nn.Linear | nn.MultiheadAttention):
        return "linear_weight"
    return "conv_weight" if isinstance(module, nn.modules.conv._ConvNd) else "other"


def counts(model: nn.Module, trainable: int) -> Counts:
    """Parameter counts as in the paper's Table 1; `trainable` counts single elements."""
    roles = roles_of(model).items()
    return count(((role, model.get_parameter(name).numel()) for name, role in roles), trainable)
