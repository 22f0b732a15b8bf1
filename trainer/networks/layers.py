"""A network as a list of layers: all that planning needs to count. No torch.

The networks themselves are modules beside this one; tests hold the two against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from trainer import modes
from trainer.modes import Place, Role

Kind = Literal["conv", "norm", "linear", "pool"]

_PARAMETERS: dict[Kind, tuple[modes.Kind, ...]] = {
    "conv": ("conv_weight", "bias"),
    "linear": ("linear_weight", "bias"),
    "norm": ("gamma", "beta"),
    "pool": (),
}


_role = lru_cache(maxsize=None)(Role)
"""Each role once: there are few, and very many layers have them."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: channels in and out, and the side of its square output in pixels.

    Equal only to itself: a network that repeats a block holds the same layers several times, and
    who counts multiplies.
    """

    kind: Kind
    inputs: int
    outputs: int
    size: int
    kernel: int = 1
    bias: bool = False
    place: Place = "body"
    relu: bool = False
    """Whether a ReLU follows whose output the backward pass needs."""
    adds: bool = False
    """Whether a residual is added between this BatchNorm and its ReLU."""
    feeds_norm: bool = True
    """Whether a BatchNorm reads (and keeps) this convolution's output."""

    @property
    def shortcut(self) -> bool:
        """Whether it lies in a shortcut."""
        return self.place == "shortcut"

    @cached_property
    def parameters(self) -> tuple[tuple[Role, int], ...]:
        """The role of each parameter, and its number of elements."""
        kinds, sizes = _PARAMETERS[self.kind], (self.weights, self.biases)
        pairs = zip(kinds, sizes, strict=False)
        return tuple((_role(kind, self.place), size) for kind, size in pairs if size)

    @cached_property
    def weights(self) -> int:
        """Number of weights (γ of a BatchNorm), biases not counted."""
        if self.kind in ("norm", "pool"):
            return self.outputs if self.kind == "norm" else 0
        return self.inputs * self.outputs * self.kernel**2

    @property
    def biases(self) -> int:
        """Number of biases (β of a BatchNorm)."""
        return self.outputs if self.bias or self.kind == "norm" else 0

    @cached_property
    def flops(self) -> int:
        """Forward operations for one image, a multiply-add as two; norms and pools have none."""
        return 2 * self.weights * self.size**2 if self.kind in ("conv", "linear") else 0

    @cached_property
    def map_elements(self) -> int:
        """Elements of the output for one image."""
        return self.outputs * self.size**2


@dataclass(frozen=True)
class Repeated:
    """Layers that a network has several times, one after another."""

    layers: tuple[Layer, ...]
    times: int


def conv_norm(
    inputs: int,
    outputs: int,
    size: int,
    kernel: int,
    *,
    place: Place = "body",
    bias: bool = False,
    adds: bool = False,
) -> list[Layer]:
    """A convolution and its BatchNorm, with a ReLU but in shortcuts; `size` is their output's."""
    relu = place != "shortcut"
    return [
        Layer("conv", inputs, outputs, size, kernel, bias, place),
        Layer("norm", outputs, outputs, size, place=place, relu=relu, adds=adds),
    ]


def output(inputs: int, classes: int) -> Layer:
    """The output layer."""
    return Layer("linear", inputs, classes, 1, bias=True, place="output")


def halved(size: int) -> int:
    """Side after a stride of 2 with the padding that all these layers have."""
    return (size + 1) // 2
