"""What a parameter is (its role), and the freezing modes: which roles train.

A mode is one line of `MODES`. Freezing, parameter counts, FLOPs, memory, the figures and the
probes' budgets follow from it. No torch here: planning asks the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["conv_weight", "linear_weight", "bias", "gamma", "beta", "other"]
Norm = Literal["batch", "layer", "group", "instance", "rms"]
Place = Literal["body", "shortcut", "output"]


@dataclass(frozen=True)
class Role:
    """What a parameter is: `bias` is a conv's or a linear layer's; β is not a `bias` here.

    `other` is what belongs to no layer with a name of its own: a class token, an embedding.
    """

    kind: Kind
    place: Place = "body"
    norm: Norm = "batch"
    """Of a γ or β: the normalisation that it belongs to."""
    name: str = field(default="", compare=False)
    """As in `model.named_parameters()`; empty where planning asks about layers."""

    @property
    def normalises(self) -> bool:
        """Whether it is γ or β of any normalisation."""
        return self.kind in ("gamma", "beta")

    @property
    def bn(self) -> bool:
        """Whether it belongs to a BatchNorm."""
        return self.normalises and self.norm == "batch"

    @property
    def shortcut(self) -> bool:
        """Whether it is a weight or a bias of a shortcut's convolution, as the paper counts it."""
        return self.place == "shortcut" and not self.normalises

    @property
    def output(self) -> bool:
        """Whether it belongs to the output layer."""
        return self.place == "output"


Mode = Callable[[Role], bool]
"""Whether a parameter of this role trains."""

RANDOM_K = "random_k"
"""The one mode in which a parameter trains partly: `k` elements of each output channel."""

MODES: dict[str, Mode] = {
    "all": lambda _: True,
    "bn_only": lambda role: role.bn,
    "output_only": lambda role: role.output,
    "bn_output": lambda role: role.bn or role.output,
    "shortcut_only": lambda role: role.shortcut,
    "shortcut_output": lambda role: role.shortcut or role.output,
    "bn_shortcut_output": lambda role: role.bn or role.shortcut or role.output,
    "all_but_bn": lambda role: not role.bn,
    RANDOM_K: lambda role: role.kind == "conv_weight",
    "gamma_only": lambda role: role.kind == "gamma",
    "beta_only": lambda role: role.kind == "beta",
    "bias_only": lambda role: role.kind in ("bias", "beta"),
    "norm_only": lambda role: role.normalises,
    "norm_output": lambda role: role.normalises or role.output,
    "nothing": lambda _: False,
}
"""By name, the value of the field `trainable`. Entries may be added while a program runs."""

_BODY = [Role(kind) for kind in ("conv_weight", "linear_weight", "bias", "gamma", "beta")]
_SHORTCUT = [Role(kind, "shortcut") for kind in ("conv_weight", "bias", "gamma", "beta")]
_OUTPUT = [Role(kind, "output") for kind in ("linear_weight", "bias")]


def _any(mode: str, roles: Iterable[Role]) -> bool:
    """Of a mode that only a user's code knows, everything is assumed to train."""
    return mode not in MODES or any(MODES[mode](role) for role in roles)


def trains_batch_norm(mode: str) -> bool:
    """Whether some γ or β leaves its initial value."""
    return _any(mode, (role for role in _BODY + _SHORTCUT if role.bn))


def trains_below_output(mode: str) -> bool:
    """Whether a backward pass goes through the network, not only through its output layer."""
    return _any(mode, _BODY + _SHORTCUT)


def trains_only_output(mode: str) -> bool:
    """Whether trials of one network and one seed share everything below the output layer."""
    return _any(mode, _OUTPUT) and not trains_below_output(mode)


def needs_shortcuts(mode: str) -> bool:
    """Whether nothing but shortcuts trains below the output layer."""
    return mode in MODES and _any(mode, _SHORTCUT) and not _any(mode, _BODY)


class Counts(BaseModel):
    """Parameter counts as in the paper's Table 1; `bn` includes the BatchNorm of shortcuts."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    total: int
    trainable: int
    bn: int
    output: int
    shortcut: int


def count(parameters: Iterable[tuple[Role, int]], trainable: int) -> Counts:
    """The counts of a network whose parameters have these roles and numbers of elements.

    `trainable` counts elements. `shortcut` is without biases, as in the paper's table.
    """
    sizes = list(parameters)
    return Counts(
        total=sum(size for _, size in sizes),
        trainable=trainable,
        bn=sum(size for role, size in sizes if role.bn),
        output=sum(size for role, size in sizes if role.output),
        shortcut=sum(
            size for role, size in sizes if role.place == "shortcut" and role.kind == "conv_weight"
        ),
    )
