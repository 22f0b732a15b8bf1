"""The paper's networks, and what each of their parameters is (DESIGN §8).

A parameter's role follows from the type of its module and from where the network put it: shortcuts
and the output layer are marked when the network is built, so that no list of names exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from trainer import fused, initialise
from trainer.results import Counts
from trainer.spec import TrialSpec, classes_of

Place = Literal["body", "shortcut", "output"]
Kind = Literal["conv_weight", "linear_weight", "bias", "gamma", "beta"]
_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True)
class Role:
    """What a parameter is: `bias` is a conv's or the linear layer's; β is not a `bias` here."""

    kind: Kind
    place: Place

    @property
    def bn(self) -> bool:
        """Whether it belongs to a BatchNorm."""
        return self.kind in ("gamma", "beta")


class BatchNorm(fused.Norm):
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


def build(spec: TrialSpec) -> nn.Module:
    """The spec's network: on the CPU, fp32, contiguous, initialised from the seed alone.

    The freezing mode has no part in it: the modes of one seed begin with the same weights.
    """
    with torch.device("meta"):
        model = _BUILDERS[spec.model](spec)
    model.to_empty(device="cpu")
    initialise.initialise(model, spec)
    return model


def roles(model: nn.Module) -> dict[str, Role]:
    """The role of every parameter, by its name in `model.named_parameters()`."""
    found: dict[str, Role] = {}
    _collect(model, "", "body", found)
    return found


def _collect(module: nn.Module, prefix: str, place: Place, found: dict[str, Role]) -> None:
    place = getattr(module, "place", place)
    for name, _ in module.named_parameters(recurse=False):
        found[prefix + name] = Role(_kind(module, name), place)
    for name, child in module.named_children():
        _collect(child, f"{prefix}{name}.", place, found)


def _kind(module: nn.Module, name: str) -> Kind:
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return "gamma" if name == "weight" else "beta"
    if name == "bias":
        return "bias"
    return "linear_weight" if isinstance(module, nn.Linear) else "conv_weight"


def counts(model: nn.Module, trainable: int) -> Counts:
    """Parameter counts as in the paper's Table 1; `trainable` counts single elements."""
    sizes = [(role, model.get_parameter(name).numel()) for name, role in roles(model).items()]
    return Counts(
        total=sum(size for _, size in sizes),
        trainable=trainable,
        bn=sum(size for role, size in sizes if role.bn),
        output=sum(size for role, size in sizes if role.place == "output"),
        shortcut=sum(
            size for role, size in sizes if role.place == "shortcut" and role.kind == "conv_weight"
        ),
    )


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    return fused.Conv(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)


def _shortcut(inputs: int, outputs: int, stride: int, spec: TrialSpec) -> nn.Module:
    """1x1 conv and BatchNorm where the shape changes, else the identity."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    conv = _conv(inputs, outputs, 1, stride)
    return mark(nn.Sequential(conv, BatchNorm(outputs, spec)), "shortcut")


class BasicBlock(nn.Module):
    """conv3x3 - BN - ReLU - conv3x3 - BN, add the shortcut, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, spec: TrialSpec) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, 3, stride)
        self.bn1 = BatchNorm(outputs, spec)
        self.conv2 = _conv(outputs, outputs, 3)
        self.bn2 = BatchNorm(outputs, spec)
        self.shortcut = _shortcut(inputs, outputs, stride, spec)

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, outputs, h/stride, w/stride]."""
        y = self.bn1(self.conv1(x), relu=True)
        z: Tensor = self.bn2(self.conv2(y), residual=self.shortcut(x), relu=True)
        return z


class CifarResNet(nn.Module):
    """The paper's ResNet for CIFAR: 6D+2 weight layers, three groups of 16W, 32W, 64W filters."""

    def __init__(self, spec: TrialSpec) -> None:
        super().__init__()
        filters = [16 * spec.width * 2**group for group in range(3)]
        self.conv1 = _conv(3, filters[0], 3)
        self.bn1 = BatchNorm(filters[0], spec)
        blocks: list[nn.Module] = []
        inputs = filters[0]
        for group, outputs in enumerate(filters):
            for block in range((spec.depth - 2) // 6):
                stride = 2 if group > 0 and block == 0 else 1
                blocks.append(BasicBlock(inputs, outputs, stride, spec))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.fc = mark(nn.Linear(inputs, classes_of(spec)), "output")

    def forward(self, x: Tensor) -> Tensor:
        """Images [b, 3, side, side] to logits [b, classes]."""
        logits: Tensor = self.fc(self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Images [b, 3, side, side] to what the output layer sees, [b, features]."""
        y: Tensor = self.blocks(self.bn1(self.conv1(x), relu=True))
        return y.mean((2, 3))


_BUILDERS = {"cifar_resnet": CifarResNet}
