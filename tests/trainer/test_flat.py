from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.flat import Flat


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)
    )
    return layers.to(memory_format=torch.channels_last)


def loss_of(model: nn.Module) -> Tensor:
    images = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    loss: Tensor = model(images).square().mean()
    return loss


def test_packing_leaves_the_network_s_output_as_it_was() -> None:
    expected = loss_of(network())
    model = network()
    Flat(model, [name for name, _ in model.named_parameters()])
    assert torch.equal(loss_of(model), expected)


def test_the_flat_gradient_is_the_tensors_gradients() -> None:
    plain = network()
    loss_of(plain).backward()
    model = network()
    flat = Flat(model, ["0.weight", "3.bias"])
    flat.values.sub_(flat.gradient(loss_of(model)))
    parameters = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        step = parameters[name].grad if name in ("0.weight", "3.bias") else 0
        torch.testing.assert_close(parameter.detach(), parameters[name].detach() - step)


def test_only_the_indexed_elements_change() -> None:
    model, before = network(), network()
    chosen = torch.tensor([0, 5, 30, 107])
    flat = Flat(model, ["0.weight"], {"0.weight": chosen})
    assert flat.gradient(loss_of(model)).shape == (4,)
    flat.values.add_(1)
    flat.publish()
    moved = model[0].weight.detach() - before[0].weight.detach()
    expected = torch.zeros(108)
    expected[chosen] = 1
    torch.testing.assert_close(moved.reshape(-1), expected)


def test_statistics_are_views_of_one_vector_that_can_be_loaded_back() -> None:
    model = network()
    flat = Flat(model, ["1.weight"])
    loss_of(model)
    values, statistics = flat.values.clone(), flat.statistics.clone()
    assert torch.equal(statistics[:4], model[1].running_mean)
    flat.load(values + 1, statistics * 2)
    assert torch.equal(model[1].weight, values + 1)
    assert torch.equal(model[1].running_var, statistics[4:] * 2)
