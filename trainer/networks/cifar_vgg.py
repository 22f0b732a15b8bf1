"""The appendix's VGG for CIFAR."""

from __future__ import annotations

from torch import Tensor, nn

from trainer.networks.blocks import BatchNorm, Network, conv, output
from trainer.networks.descriptions import VGG, NetworkSpec


class _VGGLayer(nn.Module):
    """conv3x3 with bias - BN - ReLU."""

    def __init__(self, inputs: int, filters: int, spec: NetworkSpec) -> None:
        super().__init__()
        self.conv = conv(inputs, filters, 3, bias=True)
        self.bn = BatchNorm(filters, spec)

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, filters, h, w]."""
        y: Tensor = self.bn(self.conv(x), relu=True)
        return y


class CifarVGG(Network):
    """The appendix's VGG: conv3x3 with bias - BN - ReLU, pooled after each of five groups."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for group, size in enumerate(VGG[spec.depth]):
            filters = min(64 * 2**group, 512) * spec.width
            for _ in range(size):
                layers.append(_VGGLayer(inputs, filters, spec))
                inputs = filters
            # The last pool is an average.
            layers.append(nn.MaxPool2d(2) if group < 4 else nn.AvgPool2d(2))
        self.layers = nn.Sequential(*layers)
        self.fc = output(inputs, spec)

    def features(self, x: Tensor) -> Tensor:
        """Images [b, 3, 32, 32] to what the output layer sees, [b, 512W]."""
        y: Tensor = self.layers(x)
        return y.flatten(1)
