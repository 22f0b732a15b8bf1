"""torchvision's ResNet, of any width."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trainer.networks.blocks import (
    BasicBlock,
    BatchNorm,
    Bottleneck,
    Network,
    conv,
    groups,
    output,
)
from trainer.networks.descriptions import BASIC, BOTTLENECK, NetworkSpec


class ImageNetResNet(Network):
    """torchvision's ResNet, each filter count times W; ResNet-200 has 3, 24, 36, 3 blocks."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        filters = 64 * spec.width
        block = BasicBlock if spec.depth in BASIC else Bottleneck
        sizes = {**BASIC, **BOTTLENECK}[spec.depth]
        self.conv1 = conv(3, filters, 7, 2)
        self.bn1 = BatchNorm(filters, spec)
        parts = groups(block, filters, filters, sizes, spec)
        self.layer1, self.layer2, self.layer3, self.layer4 = parts
        self.fc = output(filters * 8 * block.expansion, spec)

    def features(self, x: Tensor) -> Tensor:
        """Images [b, 3, side, side] to what the output layer sees, [b, 512W or 2048W]."""
        y = F.max_pool2d(self.bn1(self.conv1(x), relu=True), 3, 2, 1)
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        means: Tensor = y.mean((2, 3))
        return means
