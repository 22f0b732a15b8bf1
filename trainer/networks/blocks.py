"""What the networks are built of.

Shortcut convolutions (with their BatchNorm) and the output layer are marked where they are made:
that, with a module's type, is all that freezing needs to know (see roles.py). Parameters have the
names that torchvision's ResNets give theirs, so that weights travel both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor, nn

from trainer.kernels import fused_norm
from trainer.modes import Place
from trainer.networks.descriptions import EXPANSION, NetworkSpec

_Module = TypeVar("_Module", bound=nn.Module)


class BatchNorm(fused_norm.Norm):
    """BatchNorm2d with the residual and the ReLU behind it, which a kernel may do in one pass.

    It has no `num_batches_tracked`: that is the step count, and counting it costs a quarter of the
    forward's kernels on a GPU. Export puts it back.
    """

    def __init__(self, channels: int, spec: NetworkSpec) -> None:
        super().__init__(channels, eps=spec.bn_eps, momentum=spec.bn_momentum)
        self.num_batches_tracked = None


def mark(module: _Module, place: Place) -> _Module:
    """Say where the network put a module; what lies inside it inherits the place."""
    module.place = place  # type: ignore[assignment]
    return module


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps the side of the images, or divides it by the stride."""
    return fused_norm.Conv(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)


def output(inputs: int, spec: NetworkSpec) -> nn.Linear:
    """The output layer."""
    return mark(nn.Linear(inputs, spec.classes), "output")


def shortcut(inputs: int, outputs: int, stride: int, spec: NetworkSpec) -> nn.Module:
    """1x1 conv and BatchNorm where the shape changes, else the identity."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    parts = conv(inputs, outputs, 1, stride), BatchNorm(outputs, spec)
    return mark(nn.Sequential(*parts), "shortcut")


class BasicBlock(nn.Module):
    """conv3x3 - BN - ReLU - conv3x3 - BN, add the shortcut, ReLU."""

    expansion = 1

    def __init__(self, inputs: int, filters: int, stride: int, spec: NetworkSpec) -> None:
        super().__init__()
        self.conv1 = conv(inputs, filters, 3, stride)
        self.bn1 = BatchNorm(filters, spec)
        self.conv2 = conv(filters, filters, 3)
        self.bn2 = BatchNorm(filters, spec)
        self.downsample = shortcut(inputs, filters, stride, spec)

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, filters, h/stride, w/stride]."""
        y = self.bn1(self.conv1(x), relu=True)
        z: Tensor = self.bn2(self.conv2(y), residual=self.downsample(x), relu=True)
        return z


class Bottleneck(nn.Module):
    """conv1x1 - conv3x3 (with the stride) - conv1x1, each with BN, add the shortcut, ReLU."""

    expansion = EXPANSION

    def __init__(self, inputs: int, filters: int, stride: int, spec: NetworkSpec) -> None:
        super().__init__()
        outputs = filters * self.expansion
        self.conv1 = conv(inputs, filters, 1)
        self.bn1 = BatchNorm(filters, spec)
        self.conv2 = conv(filters, filters, 3, stride)
        self.bn2 = BatchNorm(filters, spec)
        self.conv3 = conv(filters, outputs, 1)
        self.bn3 = BatchNorm(outputs, spec)
        self.downsample = shortcut(inputs, outputs, stride, spec)

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, 4·filters, h/stride, w/stride]."""
        y = self.bn1(self.conv1(x), relu=True)
        y = self.bn2(self.conv2(y), relu=True)
        z: Tensor = self.bn3(self.conv3(y), residual=self.downsample(x), relu=True)
        return z


def groups(
    block: type[BasicBlock] | type[Bottleneck],
    inputs: int,
    filters: int,
    sizes: Sequence[int],
    spec: NetworkSpec,
) -> list[nn.Sequential]:
    """Groups of blocks; the filters double from one to the next, which begins with stride 2."""
    made: list[nn.Sequential] = []
    for group, size in enumerate(sizes):
        blocks: list[nn.Module] = []
        for number in range(size):
            stride = 2 if group > 0 and number == 0 else 1
            blocks.append(block(inputs, filters * 2**group, stride, spec))
            inputs = filters * 2**group * block.expansion
        made.append(nn.Sequential(*blocks))
    return made


class Network(nn.Module):
    """Features, then the output layer `fc`."""

    fc: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """Images [b, 3, side, side] to what the output layer sees, [b, features]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Images [b, 3, side, side] to logits [b, classes]."""
        logits: Tensor = self.fc(self.features(x))
        return logits
