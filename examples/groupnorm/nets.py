"""The paper's ResNet for CIFAR with GroupNorm in the place of every BatchNorm."""

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.extend import NetworkSpec, conv, mark, network, output


class Block(nn.Module):
    """conv3x3 - norm - ReLU - conv3x3 - norm, add the shortcut, ReLU."""

    def __init__(self, inputs: int, filters: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, filters, 3, stride), nn.GroupNorm(groups, filters)
        self.conv2, self.norm2 = conv(filters, filters, 3), nn.GroupNorm(groups, filters)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            changed = conv(inputs, filters, 1, stride), nn.GroupNorm(groups, filters)
            self.shortcut = mark(nn.Sequential(*changed), "shortcut")

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, filters, h/stride, w/stride]."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


@network(
    name="groupnorm_resnet",
    depths=[8, 14, 20, 32, 56, 110],
    sides=(8, 64),
    label="GroupNorm ResNet",
)
class GroupNormResNet(nn.Module):
    """6D+2 weight layers; `options: {groups: 8}` says how many groups of channels a norm has."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        groups, filters = spec.option("groups", 8), 16 * spec.width
        self.conv1, self.norm1 = conv(3, filters, 3), nn.GroupNorm(groups, filters)
        blocks: list[nn.Module] = []
        inputs = filters
        for group in range(3):
            for number in range((spec.depth - 2) // 6):
                outputs = filters * 2**group
                stride = 2 if group and not number else 1
                blocks.append(Block(inputs, outputs, stride, groups))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.fc = output(inputs, spec)

    def forward(self, images: Tensor) -> Tensor:
        """Images [b, 3, side, side] to logits [b, classes]."""
        features = self.blocks(F.relu(self.norm1(self.conv1(images))))
        return self.fc(features.mean((2, 3)))
