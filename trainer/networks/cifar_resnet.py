"""The paper's ResNet for CIFAR."""

from __future__ import annotations

from torch import Tensor

from trainer.networks.blocks import BasicBlock, BatchNorm, Network, conv, groups, output
from trainer.networks.descriptions import NetworkSpec


class CifarResNet(Network):
    """The paper's ResNet for CIFAR: 6D+2 weight layers, three groups of 16W, 32W, 64W filters."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        filters = 16 * spec.width
        self.conv1 = conv(3, filters, 3)
        self.bn1 = BatchNorm(filters, spec)
        sizes = [(spec.depth - 2) // 6] * 3
        self.layer1, self.layer2, self.layer3 = groups(BasicBlock, filters, filters, sizes, spec)
        self.fc = output(filters * 4, spec)

    def features(self, x: Tensor) -> Tensor:
        """Images [b, 3, side, side] to what the output layer sees, [b, 64W]."""
        y = self.bn1(self.conv1(x), relu=True)
        y = self.layer3(self.layer2(self.layer1(y)))
        means: Tensor = y.mean((2, 3))
        return means
