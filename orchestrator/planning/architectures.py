"""The networks as lists of layers, in closed form: what planning needs to count, without torch.

The networks themselves are built in trainer/networks; tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from trainer import modes as roles
from trainer.modes import MODES, Place, Role
from trainer.spec import TrialSpec, classes_of, image_size_of

Kind = Literal["conv", "norm", "linear", "pool"]

_BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
_VGG_CONVS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_EXPANSION = 4


_KINDS: dict[Kind, tuple[roles.Kind, roles.Kind]] = {
    "conv": ("conv_weight", "bias"),
    "linear": ("linear_weight", "bias"),
    "norm": ("gamma", "beta"),
    "pool": ("conv_weight", "bias"),  # it has neither
}


@dataclass(frozen=True)
class Layer:
    """One layer: channels in and out, and the side of its square output in pixels."""

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
    def parameters(self) -> tuple[tuple[Role, int], ...]:
        """The role of each parameter, and its number of elements."""
        weight, bias = _KINDS[self.kind]
        sizes = ((Role(weight, self.place), self.weights), (Role(bias, self.place), self.biases))
        return tuple((role, size) for role, size in sizes if size)

    @property
    def shortcut(self) -> bool:
        """Whether it lies in a shortcut."""
        return self.place == "shortcut"

    @property
    def flops(self) -> int:
        """Forward operations for one image, a multiply-add as two; norms and pools have none."""
        return 2 * self.weights * self.size**2 if self.kind in ("conv", "linear") else 0

    @property
    def map_elements(self) -> int:
        """Elements of the output for one image."""
        return self.outputs * self.size**2


def gradient_elements(layer: Layer, mode: str) -> int:
    """How many elements of the layer have a gradient in this freezing mode.

    Those are the ones that train, but for random_k: there whole weights have one.
    """
    return sum(elements for role, elements in layer.parameters if MODES[mode](role))


def weight_trains(layer: Layer, mode: str) -> bool:
    """Whether the gradient of a convolution's or linear layer's weight is needed."""
    kinds = ("conv_weight", "linear_weight")
    return any(role.kind in kinds and MODES[mode](role) for role, _ in layer.parameters)


def first_trained(layers: tuple[Layer, ...], mode: str) -> int:
    """Index of the first layer that trains; their number where none does."""
    trained = (i for i, layer in enumerate(layers) if gradient_elements(layer, mode))
    return next(trained, len(layers))


def layers_of(spec: TrialSpec) -> tuple[Layer, ...]:
    """The spec's network, in the order of its forward pass."""
    return _layers(spec.model, spec.depth, spec.width, classes_of(spec), image_size_of(spec))


@lru_cache(maxsize=4096)
def _layers(model: str, depth: int, width: int, classes: int, size: int) -> tuple[Layer, ...]:
    build = {
        "cifar_resnet": _cifar_resnet,
        "cifar_vgg": _cifar_vgg,
        "imagenet_resnet": _imagenet_resnet,
        "bottleneck_resnet": _bottleneck_resnet,
    }[model]
    return tuple(build(depth, width, classes, size))


def _conv_norm(
    inputs: int,
    outputs: int,
    size: int,
    kernel: int,
    *,
    place: Place = "body",
    bias: bool = False,
    adds: bool = False,
) -> Iterator[Layer]:
    """A convolution and its BatchNorm; `size` is the side of their output."""
    yield Layer("conv", inputs, outputs, size, kernel, bias, place)
    relu = place != "shortcut"
    yield Layer("norm", outputs, outputs, size, place=place, relu=relu, adds=adds)


def _cifar_resnet(depth: int, width: int, classes: int, size: int) -> Iterator[Layer]:
    channels = 16 * width
    yield from _conv_norm(3, channels, size, 3)
    for outputs in (16 * width, 32 * width, 64 * width):
        for _ in range((depth - 2) // 6):
            size = size if outputs == channels else _halved(size)
            yield from _conv_norm(channels, outputs, size, 3)
            yield from _conv_norm(outputs, outputs, size, 3, adds=True)
            if outputs != channels:
                yield from _conv_norm(channels, outputs, size, 1, place="shortcut")
            channels = outputs
    yield Layer("linear", channels, classes, 1, bias=True, place="output")


def _cifar_vgg(depth: int, width: int, classes: int, size: int) -> Iterator[Layer]:
    channels = 3
    for stage, convs in enumerate(_VGG_CONVS[depth]):
        outputs = min(64 * 2**stage, 512) * width
        for _ in range(convs):
            yield from _conv_norm(channels, outputs, size, 3, bias=True)
            channels = outputs
        size //= 2
        if stage < 4:
            yield Layer("pool", channels, channels, size)
    yield Layer("linear", channels, classes, 1, bias=True, place="output")


def _imagenet_resnet(depth: int, width: int, classes: int, size: int) -> Iterator[Layer]:
    channels, size = 64 * width, _halved(size)
    yield from _conv_norm(3, channels, size, 7)
    size = _halved(size)
    yield Layer("pool", channels, channels, size)
    basic = depth in _BASIC
    for stage, blocks in enumerate(_BASIC[depth] if basic else _BOTTLENECK[depth]):
        inner = 64 * width * 2**stage
        outputs = inner if basic else inner * _EXPANSION
        for block in range(blocks):
            before, size = size, _halved(size) if stage and not block else size
            if basic:
                yield from _conv_norm(channels, inner, size, 3)
                yield from _conv_norm(inner, inner, size, 3, adds=True)
            else:
                yield from _conv_norm(channels, inner, before, 1)
                yield from _conv_norm(inner, inner, size, 3)
                yield from _conv_norm(inner, outputs, size, 1, adds=True)
            if channels != outputs or before != size:
                yield from _conv_norm(channels, outputs, size, 1, place="shortcut")
            channels = outputs
    yield Layer("linear", channels, classes, 1, bias=True, place="output")


def _bottleneck_resnet(depth: int, width: int, classes: int, size: int) -> Iterator[Layer]:
    """The report's network (Keras): every convolution has a bias, its shortcuts have no norm."""
    channels = 16 * width
    yield from _conv_norm(3, channels, size, 3, bias=True)
    for group, (inner, outputs) in enumerate(((16, 64), (64, 128), (128, 256))):
        inner, outputs = inner * width, outputs * width
        for block in range((depth - 2) // 9):
            before, size = size, _halved(size) if group and not block else size
            yield from _conv_norm(channels, inner, before, 1, bias=True)
            yield from _conv_norm(inner, inner, size, 3, bias=True)
            yield from _conv_norm(inner, outputs, size, 1, bias=True, adds=True)
            if not block:
                yield Layer("conv", channels, outputs, size, 1, True, "shortcut", feeds_norm=False)
            channels = outputs
    yield Layer("norm", channels, channels, size, relu=True)
    yield Layer("linear", channels, classes, 1, bias=True, place="output")


def _halved(size: int) -> int:
    """Side after a stride of 2 with the padding that all these layers have."""
    return (size + 1) // 2
