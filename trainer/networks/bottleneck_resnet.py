"""The non-author report's network."""

from __future__ import annotations

from torch import Tensor, nn

from trainer.networks.blocks import BatchNorm, Network, conv, mark, output
from trainer.networks.descriptions import REPORT_GROUPS, NetworkSpec


class _ReportBlock(nn.Module):
    """The non-author report's block: three convs with bias; its shortcut has no BatchNorm."""

    def __init__(
        self, inputs: int, inner: int, outer: int, stride: int, first: bool, spec: NetworkSpec
    ) -> None:
        super().__init__()
        self.conv1 = conv(inputs, inner, 1, bias=True)
        self.bn1 = BatchNorm(inner, spec)
        self.conv2 = conv(inner, inner, 3, stride, bias=True)
        self.bn2 = BatchNorm(inner, spec)
        self.conv3 = conv(inner, outer, 1, bias=True)
        self.bn3 = BatchNorm(outer, spec)
        self.downsample: nn.Module = nn.Identity()
        if first:
            self.downsample = mark(conv(inputs, outer, 1, stride, bias=True), "shortcut")

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, outer, h/stride, w/stride]."""
        y = self.bn1(self.conv1(x), relu=True)
        y = self.bn2(self.conv2(y), relu=True)
        z: Tensor = self.bn3(self.conv3(y), residual=self.downsample(x), relu=True)
        return z


class BottleneckResNet(Network):
    """The non-author report's network (Sayak Paul): 9n+2 weight layers, all convs with bias.

    Where Keras pads a convolution of stride 2 right and below, torch pads it left and above: the
    same network of mirrored images.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        width = spec.width
        self.conv1 = conv(3, 16 * width, 3, bias=True)
        self.bn1 = BatchNorm(16 * width, spec)
        blocks: list[nn.Module] = []
        inputs = 16 * width
        for group, (inner, outer) in enumerate(REPORT_GROUPS):
            for number in range((spec.depth - 2) // 9):
                first = number == 0
                stride = 2 if group > 0 and first else 1
                sizes = inputs, inner * width, outer * width
                blocks.append(_ReportBlock(*sizes, stride, first, spec))
                inputs = outer * width
        self.blocks = nn.Sequential(*blocks)
        self.bn2 = BatchNorm(inputs, spec)
        self.fc = output(inputs, spec)

    def features(self, x: Tensor) -> Tensor:
        """Images [b, 3, side, side] to what the output layer sees, [b, 256W]."""
        y = self.blocks(self.bn1(self.conv1(x), relu=True))
        z: Tensor = self.bn2(y, relu=True)
        return z.mean((2, 3))
