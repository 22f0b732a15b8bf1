"""The networks, layer by layer as the paper's facts give them.

Shortcut convolutions (with their BatchNorm) and the output layer are marked where they are made:
that, with a module's type, is all that freezing needs to know (see models.py). Parameters have the
names that torchvision's ResNets give theirs, so that weights travel both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.errors import SpecError
from trainer.kernels import fused_norm
from trainer.modes import Place
from trainer.spec import TrialSpec, classes_of, image_size_of

_Module = TypeVar("_Module", bound=nn.Module)

_BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
_VGG = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class BatchNorm(fused_norm.Norm):
    """BatchNorm2d with the residual and the ReLU behind it, which a kernel may do in one pass.

    It has no `num_batches_tracked`: that is the step count, and counting it costs a quarter of the
    forward's kernels on a GPU. Export puts it back.
    """

    def __init__(self, channels: int, spec: TrialSpec) -> None:
        super().__init__(channels, eps=spec.bn_eps, momentum=spec.bn_momentum)
        self.num_batches_tracked = None


def mark(module: _Module, place: Place) -> _Module:
    """Say where the network put a module; what lies inside it inherits the place."""
    module.place = place  # type: ignore[assignment]
    return module


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    return fused_norm.Conv(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)


def _output(inputs: int, spec: TrialSpec) -> nn.Linear:
    return mark(nn.Linear(inputs, classes_of(spec)), "output")


def _shortcut(inputs: int, outputs: int, stride: int, spec: TrialSpec) -> nn.Module:
    """1x1 conv and BatchNorm where the shape changes, else the identity."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    conv = _conv(inputs, outputs, 1, stride)
    return mark(nn.Sequential(conv, BatchNorm(outputs, spec)), "shortcut")


class BasicBlock(nn.Module):
    """conv3x3 - BN - ReLU - conv3x3 - BN, add the shortcut, ReLU."""

    expansion = 1

    def __init__(self, inputs: int, filters: int, stride: int, spec: TrialSpec) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, filters, 3, stride)
        self.bn1 = BatchNorm(filters, spec)
        self.conv2 = _conv(filters, filters, 3)
        self.bn2 = BatchNorm(filters, spec)
        self.downsample = _shortcut(inputs, filters, stride, spec)

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, filters, h/stride, w/stride]."""
        y = self.bn1(self.conv1(x), relu=True)
        z: Tensor = self.bn2(self.conv2(y), residual=self.downsample(x), relu=True)
        return z


class Bottleneck(nn.Module):
    """conv1x1 - conv3x3 (with the stride) - conv1x1, each with BN, add the shortcut, ReLU."""

    expansion = 4

    def __init__(self, inputs: int, filters: int, stride: int, spec: TrialSpec) -> None:
        super().__init__()
        outputs = filters * self.expansion
        self.conv1 = _conv(inputs, filters, 1)
        self.bn1 = BatchNorm(filters, spec)
        self.conv2 = _conv(filters, filters, 3, stride)
        self.bn2 = BatchNorm(filters, spec)
        self.conv3 = _conv(filters, outputs, 1)
        self.bn3 = BatchNorm(outputs, spec)
        self.downsample = _shortcut(inputs, outputs, stride, spec)

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, 4·filters, h/stride, w/stride]."""
        y = self.bn1(self.conv1(x), relu=True)
        y = self.bn2(self.conv2(y), relu=True)
        z: Tensor = self.bn3(self.conv3(y), residual=self.downsample(x), relu=True)
        return z


def _groups(
    block: type[BasicBlock] | type[Bottleneck],
    inputs: int,
    filters: int,
    sizes: Sequence[int],
    spec: TrialSpec,
) -> list[nn.Sequential]:
    """Groups of blocks; the filters double from one to the next, which begins with stride 2."""
    groups = []
    for group, size in enumerate(sizes):
        blocks: list[nn.Module] = []
        for number in range(size):
            stride = 2 if group > 0 and number == 0 else 1
            blocks.append(block(inputs, filters * 2**group, stride, spec))
            inputs = filters * 2**group * block.expansion
        groups.append(nn.Sequential(*blocks))
    return groups


class _Network(nn.Module):
    """Features, then the output layer `fc`."""

    fc: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """Images [b, 3, side, side] to what the output layer sees, [b, features]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Images [b, 3, side, side] to logits [b, classes]."""
        logits: Tensor = self.fc(self.features(x))
        return logits


class CifarResNet(_Network):
    """The paper's ResNet for CIFAR: 6D+2 weight layers, three groups of 16W, 32W, 64W filters."""

    def __init__(self, spec: TrialSpec) -> None:
        super().__init__()
        filters = 16 * spec.width
        self.conv1 = _conv(3, filters, 3)
        self.bn1 = BatchNorm(filters, spec)
        sizes = [(spec.depth - 2) // 6] * 3
        groups = _groups(BasicBlock, filters, filters, sizes, spec)
        self.layer1, self.layer2, self.layer3 = groups
        self.fc = _output(filters * 4, spec)

    def features(self, x: Tensor) -> Tensor:
        """Images [b, 3, side, side] to what the output layer sees, [b, 64W]."""
        y = self.bn1(self.conv1(x), relu=True)
        y = self.layer3(self.layer2(self.layer1(y)))
        means: Tensor = y.mean((2, 3))
        return means


class ImageNetResNet(_Network):
    """torchvision's ResNet, each filter count times W; ResNet-200 has 3, 24, 36, 3 blocks."""

    def __init__(self, spec: TrialSpec) -> None:
        super().__init__()
        filters = 64 * spec.width
        block = BasicBlock if spec.depth in _BASIC else Bottleneck
        sizes = {**_BASIC, **_BOTTLENECK}[spec.depth]
        self.conv1 = _conv(3, filters, 7, 2)
        self.bn1 = BatchNorm(filters, spec)
        groups = _groups(block, filters, filters, sizes, spec)
        self.layer1, self.layer2, self.layer3, self.layer4 = groups
        self.fc = _output(filters * 8 * block.expansion, spec)

    def features(self, x: Tensor) -> Tensor:
        """Images [b, 3, side, side] to what the output layer sees, [b, 512W or 2048W]."""
        y = F.max_pool2d(self.bn1(self.conv1(x), relu=True), 3, 2, 1)
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        means: Tensor = y.mean((2, 3))
        return means


class _VGGLayer(nn.Module):
    """conv3x3 with bias - BN - ReLU."""

    def __init__(self, inputs: int, filters: int, spec: TrialSpec) -> None:
        super().__init__()
        self.conv = _conv(inputs, filters, 3, bias=True)
        self.bn = BatchNorm(filters, spec)

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, filters, h, w]."""
        y: Tensor = self.bn(self.conv(x), relu=True)
        return y


class CifarVGG(_Network):
    """The appendix's VGG: conv3x3 with bias - BN - ReLU, pooled after each of five groups."""

    def __init__(self, spec: TrialSpec) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for group, size in enumerate(_VGG[spec.depth]):
            filters = min(64 * 2**group, 512) * spec.width
            for _ in range(size):
                layers.append(_VGGLayer(inputs, filters, spec))
                inputs = filters
            # The last pool is an average.
            layers.append(nn.MaxPool2d(2) if group < 4 else nn.AvgPool2d(2))
        self.layers = nn.Sequential(*layers)
        self.fc = _output(inputs, spec)

    def features(self, x: Tensor) -> Tensor:
        """Images [b, 3, 32, 32] to what the output layer sees, [b, 512W]."""
        y: Tensor = self.layers(x)
        return y.flatten(1)


class _ReportBlock(nn.Module):
    """The non-author report's block: three convs with bias; its shortcut has no BatchNorm."""

    def __init__(
        self, inputs: int, inner: int, outer: int, stride: int, first: bool, spec: TrialSpec
    ) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, inner, 1, bias=True)
        self.bn1 = BatchNorm(inner, spec)
        self.conv2 = _conv(inner, inner, 3, stride, bias=True)
        self.bn2 = BatchNorm(inner, spec)
        self.conv3 = _conv(inner, outer, 1, bias=True)
        self.bn3 = BatchNorm(outer, spec)
        self.downsample: nn.Module = nn.Identity()
        if first:
            self.downsample = mark(_conv(inputs, outer, 1, stride, bias=True), "shortcut")

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, outer, h/stride, w/stride]."""
        y = self.bn1(self.conv1(x), relu=True)
        y = self.bn2(self.conv2(y), relu=True)
        z: Tensor = self.bn3(self.conv3(y), residual=self.downsample(x), relu=True)
        return z


class BottleneckResNet(_Network):
    """The non-author report's network (Sayak Paul): 9n+2 weight layers, all convs with bias.

    Where Keras pads a convolution of stride 2 right and below, torch pads it left and above: the
    same network of mirrored images.
    """

    def __init__(self, spec: TrialSpec) -> None:
        super().__init__()
        width = spec.width
        self.conv1 = _conv(3, 16 * width, 3, bias=True)
        self.bn1 = BatchNorm(16 * width, spec)
        blocks: list[nn.Module] = []
        inputs = 16 * width
        for group, (inner, outer) in enumerate(((16, 64), (64, 128), (128, 256))):
            for number in range((spec.depth - 2) // 9):
                first = number == 0
                stride = 2 if group > 0 and first else 1
                sizes = inputs, inner * width, outer * width
                blocks.append(_ReportBlock(*sizes, stride, first, spec))
                inputs = outer * width
        self.blocks = nn.Sequential(*blocks)
        self.bn2 = BatchNorm(inputs, spec)
        self.fc = _output(inputs, spec)

    def features(self, x: Tensor) -> Tensor:
        """Images [b, 3, side, side] to what the output layer sees, [b, 256W]."""
        y = self.blocks(self.bn1(self.conv1(x), relu=True))
        z: Tensor = self.bn2(y, relu=True)
        return z.mean((2, 3))


BUILDERS: dict[str, type[nn.Module]] = {
    "cifar_resnet": CifarResNet,
    "cifar_vgg": CifarVGG,
    "imagenet_resnet": ImageNetResNet,
    "bottleneck_resnet": BottleneckResNet,
}


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
