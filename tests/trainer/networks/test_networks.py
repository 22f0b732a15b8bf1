"""The networks are the paper's: counts, shapes, and torchvision's logits with the same weights."""

import pytest
import torch
import torchvision
from torch import nn

from trainer import freezing
from trainer.networks import roles
from trainer.networks.blocks import BatchNorm, mark
from trainer.networks.descriptions import NETWORKS, NetworkSpec
from trainer.spec import TrialSpec, network_of
from trainer.weights import initial

RESNETS = [("cifar_resnet", d, 1) for d in (14, 32, 56, 110, 218, 434, 866)]
RESNETS += [("cifar_resnet", 14, w) for w in (2, 4, 8, 16, 32)]
RESNETS += [("imagenet_resnet", d, 1) for d in (18, 34, 50, 101, 200)]
PAPER = {
    (model, depth, width): row
    for (model, depth, width), row in zip(
        RESNETS,
        [
            (175_258, 1_120, 650, 2_560),
            (466_906, 2_464, 650, 2_560),
            (855_770, 4_256, 650, 2_560),
            (1_730_714, 8_288, 650, 2_560),
            (3_480_602, 16_352, 650, 2_560),
            (6_980_378, 32_480, 650, 2_560),
            (13_979_930, 64_736, 650, 2_560),
            (696_618, 2_240, 1_290, 10_240),
            (2_777_674, 4_480, 2_570, 40_960),
            (11_093_130, 8_960, 5_130, 163_840),
            (44_337_418, 17_920, 10_250, 655_360),
            (177_279_498, 35_840, 20_490, 2_621_440),
            (11_689_512, 9_600, 513_000, 172_032),
            (21_797_672, 17_024, 513_000, 172_032),
            (25_557_032, 53_120, 2_049_000, 2_768_896),
            (44_549_160, 105_344, 2_049_000, 2_768_896),
            (64_673_832, 176_000, 2_049_000, 2_768_896),
        ],
        strict=True,
    )
}


def spec_of(model, depth, width=1, **fields):
    dataset = "imagenet" if model == "imagenet_resnet" else "cifar10"
    return TrialSpec(model=model, depth=depth, width=width, dataset=dataset, **fields)


def on_meta(spec):
    """The network without its numbers: enough to count."""
    with torch.device("meta"):
        return NETWORKS[spec.model].build(network_of(spec))


@pytest.mark.parametrize("key", PAPER, ids=lambda key: "-".join(map(str, key)))
def test_every_row_of_the_papers_table_is_met(key):
    model = on_meta(spec_of(*key))
    counts = roles.counts(model, 0)
    assert (counts.total, counts.bn, counts.output, counts.shortcut) == PAPER[key]


@pytest.mark.parametrize("key", PAPER, ids=lambda key: "-".join(map(str, key)))
def test_two_random_weights_of_each_channel_are_as_many_as_the_bn_parameters(key):
    spec = spec_of(*key, trainable="random_k", k=2)
    model = on_meta(spec).to_empty(device="cpu")
    assert freezing.freeze(model, spec).count(model) == PAPER[key][1]


def test_the_reports_bottleneck_network_has_its_counts():
    counts = roles.counts(on_meta(spec_of("bottleneck_resnet", 20)), 0)
    assert (counts.total, counts.bn) == (571_114, 4_000)


@pytest.mark.parametrize(
    ("depth", "bn", "convs"), [(11, 5_504, 8), (13, 5_888, 10), (16, 8_448, 13), (19, 11_008, 16)]
)
def test_the_vggs_have_their_layers(depth, bn, convs):
    model = on_meta(spec_of("cifar_vgg", depth))
    assert roles.counts(model, 0).bn == bn
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(layers) == convs
    assert all(layer.bias is not None for layer in layers)


@pytest.mark.parametrize(
    ("model", "depth", "side", "classes"),
    [
        ("cifar_resnet", 8, 32, 10),
        ("cifar_vgg", 11, 32, 10),
        ("bottleneck_resnet", 11, 32, 10),
        ("imagenet_resnet", 18, 64, 1000),
        ("imagenet_resnet", 50, 64, 1000),
    ],
)
def test_images_become_logits(model, depth, side, classes):
    built = initial.build(spec_of(model, depth))
    assert built(torch.rand(2, 3, side, side)).shape == (2, classes)


def torchvision_twin(spec):
    """torchvision's own network (its blocks, for 200) with the weights of ours."""
    ours = initial.build(spec).eval()
    if spec.depth == 200:
        blocks = torchvision.models.resnet.Bottleneck, [3, 24, 36, 3]
        theirs = torchvision.models.ResNet(*blocks)
    else:
        theirs = getattr(torchvision.models, f"resnet{spec.depth}")()
    missing, unexpected = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert unexpected == []
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return ours, theirs.eval()


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152, 200])
def test_torchvisions_resnet_with_the_same_weights_gives_the_same_logits(depth):
    ours, theirs = torchvision_twin(spec_of("imagenet_resnet", depth))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(images)
        difference = (ours(images) - expected).abs().max() / expected.abs().max()
    assert difference < 1e-5


def of_torchvisions_blocks(depth):
    """The CIFAR ResNet put together from torchvision's BasicBlock."""
    groups, inputs = [], 16
    for outputs in (16, 32, 64):
        blocks = []
        for number in range((depth - 2) // 6):
            new = number == 0 and outputs != inputs
            shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs)
            )
            stride, shortcut = (2, shortcut) if new else (1, None)
            blocks.append(torchvision.models.resnet.BasicBlock(inputs, outputs, stride, shortcut))
            inputs = outputs
        groups.append(nn.Sequential(*blocks))
    stem = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    return nn.Sequential(
        *stem, *groups, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10)
    )


def of_torchvisions_vgg(depth):
    """torchvision's VGG features (with BatchNorm), the last pool an average as in the appendix."""
    vgg = torchvision.models.vgg
    features = vgg.make_layers(vgg.cfgs[{11: "A", 13: "B", 16: "D", 19: "E"}[depth]], True)
    features[-1] = nn.AvgPool2d(2)
    return nn.Sequential(features, nn.Flatten(), nn.Linear(512, 10))


@pytest.mark.parametrize(
    ("model", "depth", "assemble"),
    [("cifar_resnet", d, of_torchvisions_blocks) for d in (8, 14, 32)]
    + [("cifar_vgg", d, of_torchvisions_vgg) for d in (11, 13, 16, 19)],
)
@pytest.mark.parametrize("training", [False, True])
def test_networks_of_torchvisions_layers_give_the_same_logits(model, depth, assemble, training):
    """Weights go over in the order of the state dicts: the layers must stand in the same order."""
    ours, theirs = initial.build(spec_of(model, depth)), assemble(depth)
    names = [name for name in theirs.state_dict() if not name.endswith("num_batches_tracked")]
    ours_in_order = ours.state_dict().values()
    theirs.load_state_dict(dict(zip(names, ours_in_order, strict=True)), strict=False)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.train(training)(images)
        difference = (ours.train(training)(images) - expected).abs().max()
    assert difference < 1e-5 * expected.abs().max().clamp(min=1)


def test_a_new_network_needs_no_list_of_names():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.strange = mark(nn.Conv2d(3, 4, 1), "shortcut")
            self.bn_is_a_lie = nn.Linear(4, 4)
            self.normal = BatchNorm(4, NetworkSpec(depth=8))

    role_of = roles.roles_of(Odd())
    assert role_of["strange.bias"] == roles.Role("bias", "shortcut")
    assert role_of["bn_is_a_lie.weight"] == roles.Role("linear_weight", "body")
    assert role_of["normal.weight"] == roles.Role("gamma", "body")


def test_depth_866_builds_and_makes_a_step():
    model = initial.build(spec_of("cifar_resnet", 866, trainable="bn_only"))
    freezing.freeze(model, spec_of("cifar_resnet", 866, trainable="bn_only"))
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    assert model.bn1.weight.grad.isfinite().all()
