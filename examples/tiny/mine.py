"""A network and a freezing mode of one's own."""

from torch import Tensor, nn

from trainer.extend import BatchNorm, NetworkSpec, Role, conv, mode, network, output


@network(depths=[1, 2], sides=(8, 64), label="Tiny")
class Tiny(nn.Module):
    """One or two convolutions with BatchNorm, then the output layer."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        filters = 16 * spec.width
        self.conv1, self.bn1 = conv(3, filters, 3), BatchNorm(filters, spec)
        self.deeper = spec.depth == 2
        if self.deeper:
            self.conv2, self.bn2 = conv(filters, filters, 3), BatchNorm(filters, spec)
        self.fc = output(filters, spec)

    def forward(self, images: Tensor) -> Tensor:
        """Images [b, 3, side, side] to logits [b, classes]."""
        features = self.bn1(self.conv1(images), relu=True)
        if self.deeper:
            features = self.bn2(self.conv2(features), relu=True)
        return self.fc(features.mean((2, 3)))


@mode
def stem_only(role: Role) -> bool:
    """Only the first convolution trains."""
    return role.name.startswith("conv1.")
