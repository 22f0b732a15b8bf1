"""The networks as planning, validation and figures see them. No torch.

Each entry of `NETWORKS` describes one network and names the module that builds it, which lies
beside this one. Depths, image sizes and layers are stated here and nowhere else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trainer.late import late
from trainer.networks.layers import Layer, Repeated, conv_norm, halved, output

Layers = tuple[tuple[Layer, int], ...]
"""Each layer with how many times it comes; see `layers_of`."""


@dataclass(frozen=True)
class NetworkSpec:
    """What a network is built from."""

    depth: int
    width: int = 1
    classes: int = 10
    side: int = 32
    """Of the square images, in pixels."""
    bn_eps: float = 1e-5
    bn_momentum: float = 0.1
    options: tuple[tuple[str, Any], ...] = ()
    """Further values that the network asks for by name, ascending by name."""

    def option(self, name: str, default: Any = None) -> Any:
        """The value of an option, or `default` where the spec does not give it."""
        return dict(self.options).get(name, default)


@dataclass(frozen=True)
class Description:
    """What is known of a network before it is built."""

    label: str
    """In figures, before the depth: `ResNet` of `ResNet-14`."""
    depths: Sequence[int]
    """Possible depths, ascending: a tuple, or a range where they are many."""
    sides: tuple[int, int]
    """The smallest and largest side of the images it takes, in pixels."""
    layers: Callable[[NetworkSpec], Iterable[Layer | Repeated]]
    """In the order of the forward pass; a block that repeats should be `Repeated`, so that a deep
    network is counted as fast as a shallow one."""
    build: Callable[[NetworkSpec], Any]
    """The network, as a torch module with `features(images)` and an output layer `fc`; one of a
    user's own only needs `forward(images)`."""
    own: bool = False
    """Whether a user's code defines it."""
    rule: str = ""
    """Which depths a range holds, for messages: `6D+2`."""

    def depth_problem(self, name: str, depth: int) -> str:
        """Why `depth` is impossible and the nearest that are not; empty if it is fine."""
        if depth in self.depths:
            return ""
        if isinstance(self.depths, range):
            below = max(bisect_left(self.depths, depth) - 1, 0)
            nearest = " and ".join(map(str, self.depths[below : below + 2]))
            allowed = ", ".join(filter(None, (self.rule, f"the nearest {nearest}")))
        else:
            allowed = ", ".join(map(str, self.depths))
        return f"found {depth}; allowed for {name}: {allowed}"


def layers_of(name: str, spec: NetworkSpec) -> Layers:
    """The layers of network `name`, in the order of its forward pass, each with a number of times.

    It is 1, but for a block that repeats: between its first and its last time, its layers stand
    once for all the times between.
    """
    return _layers(NETWORKS[name], spec)


@lru_cache(maxsize=1024)
def _layers(description: Description, spec: NetworkSpec) -> Layers:
    return tuple(_counted(description.layers(spec)))


def _counted(parts: Iterable[Layer | Repeated]) -> Iterator[tuple[Layer, int]]:
    for part in parts:
        block = part if isinstance(part, Repeated) else Repeated((part,), 1)
        for times in [1] * block.times if block.times < 3 else [1, block.times - 2, 1]:
            yield from ((layer, times) for layer in block.layers)


# --- the paper's networks ------------------------------------------------------------------------

BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
"""Blocks in each group of an ImageNet ResNet, by depth."""
VGG = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions in each group, by depth."""
EXPANSION = 4
"""Channels that leave a bottleneck block for each that is inside."""
REPORT_GROUPS = ((16, 64), (64, 128), (128, 256))
"""Channels inside and behind the blocks of each group of the non-author report's network."""


def _cifar_resnet(spec: NetworkSpec) -> Iterator[Layer | Repeated]:
    channels, size = 16 * spec.width, spec.side
    yield from conv_norm(3, channels, size, 3)
    for group, outputs in enumerate((channels, 2 * channels, 4 * channels)):
        size = halved(size) if group else size
        last = conv_norm(outputs, outputs, size, 3, adds=True)
        if group:
            yield from conv_norm(channels, outputs, size, 3) + last
            yield from conv_norm(channels, outputs, size, 1, place="shortcut")
        further = (spec.depth - 2) // 6 - (1 if group else 0)
        yield Repeated((*conv_norm(outputs, outputs, size, 3), *last), further)
        channels = outputs
    yield output(channels, spec.classes)


def _cifar_vgg(spec: NetworkSpec) -> Iterator[Layer]:
    channels, size = 3, spec.side
    for group, convs in enumerate(VGG[spec.depth]):
        outputs = min(64 * 2**group, 512) * spec.width
        for _ in range(convs):
            yield from conv_norm(channels, outputs, size, 3, bias=True)
            channels = outputs
        size //= 2
        if group < 4:
            yield Layer("pool", channels, channels, size)
    yield output(channels, spec.classes)


def _imagenet_resnet(spec: NetworkSpec) -> Iterator[Layer]:
    channels, size = 64 * spec.width, halved(spec.side)
    yield from conv_norm(3, channels, size, 7)
    size = halved(size)
    yield Layer("pool", channels, channels, size)
    basic = spec.depth in BASIC
    for group, blocks in enumerate((BASIC if basic else BOTTLENECK)[spec.depth]):
        inner = 64 * spec.width * 2**group
        outputs = inner if basic else inner * EXPANSION
        for block in range(blocks):
            before, size = size, halved(size) if group and not block else size
            if basic:
                yield from conv_norm(channels, inner, size, 3)
                yield from conv_norm(inner, inner, size, 3, adds=True)
            else:
                yield from conv_norm(channels, inner, before, 1)
                yield from conv_norm(inner, inner, size, 3)
                yield from conv_norm(inner, outputs, size, 1, adds=True)
            if channels != outputs or before != size:
                yield from conv_norm(channels, outputs, size, 1, place="shortcut")
            channels = outputs
    yield output(channels, spec.classes)


def _bottleneck_resnet(spec: NetworkSpec) -> Iterator[Layer | Repeated]:
    """Of the report (Keras): every convolution has a bias, its shortcuts have no norm."""
    channels, size = 16 * spec.width, spec.side
    yield from conv_norm(3, channels, size, 3, bias=True)
    for group, (inner, outputs) in enumerate(REPORT_GROUPS):
        inner, outputs = inner * spec.width, outputs * spec.width
        before, size = size, halved(size) if group else size
        last = conv_norm(inner, inner, size, 3, bias=True)
        last += conv_norm(inner, outputs, size, 1, bias=True, adds=True)
        yield from conv_norm(channels, inner, before, 1, bias=True) + last
        yield Layer("conv", channels, outputs, size, 1, True, "shortcut", feeds_norm=False)
        further = (spec.depth - 2) // 9 - 1
        yield Repeated((*conv_norm(outputs, inner, size, 1, bias=True), *last), further)
        channels = outputs
    yield Layer("norm", channels, channels, size, relu=True)
    yield output(channels, spec.classes)


DEEPEST = 10_000
"""Nobody trains what is deeper."""

NETWORKS: dict[str, Description] = {
    "cifar_resnet": Description(
        label="ResNet",
        depths=range(8, DEEPEST + 1, 6),
        rule="6D+2",
        sides=(8, 64),
        layers=_cifar_resnet,
        build=late("trainer.networks.cifar_resnet", "CifarResNet"),
    ),
    "cifar_vgg": Description(
        label="VGG",
        depths=tuple(VGG),
        sides=(32, 63),  # halved five times, down to one pixel
        layers=_cifar_vgg,
        build=late("trainer.networks.cifar_vgg", "CifarVGG"),
    ),
    "imagenet_resnet": Description(
        label="ResNet",
        depths=(*BASIC, *BOTTLENECK),
        sides=(32, 1024),
        layers=_imagenet_resnet,
        build=late("trainer.networks.imagenet_resnet", "ImageNetResNet"),
    ),
    "bottleneck_resnet": Description(
        label="Bottleneck ResNet",
        depths=range(11, DEEPEST + 1, 9),
        rule="9n+2",
        sides=(8, 64),
        layers=_bottleneck_resnet,
        build=late("trainer.networks.bottleneck_resnet", "BottleneckResNet"),
    ),
}
"""By name, the value of the field `model`. Entries may be added while a program runs."""
