"""Units that are off, of every activation that has such."""

import pytest
import torch
from torch import nn

from trainer.probes import activity
from trainer.probes.activity import ZERO_BELOW


class Images:
    """Batches of inputs as they are, for networks of any kind."""

    def __init__(self, *inputs):
        self.inputs, self.device = inputs, torch.device("cpu")
        self.count = sum(map(len, inputs))

    def batches(self):
        return ((each, torch.zeros(len(each), dtype=torch.long)) for each in self.inputs)

    def forward(self, model, batch):
        return model(batch).flatten(1)


def observed(model, *inputs):
    arrays = activity.observe(model, Images(*inputs), 1)
    assert not [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    return {**arrays, **activity.scalars(arrays)}


@pytest.mark.parametrize("kind", ZERO_BELOW)
def test_below_its_bound_an_activation_lets_less_than_a_hundredth_through(kind):
    bound = torch.tensor(ZERO_BELOW[kind], dtype=torch.float64)
    for shift, let_through in ((-0.001, False), (0.001, True)):
        at = bound + shift
        assert (abs(kind()(at)) > 0.01 * abs(at)).item() == let_through


@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.GELU(), nn.SiLU(), nn.SiLU(inplace=True)]
)
def test_channels_of_images_that_are_always_low_are_off(activation):
    model = nn.Sequential(nn.Conv2d(1, 4, 1), activation)
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor([-9.0, 1.0, -0.0, 9.0]))
    found = observed(model, torch.zeros(3, 1, 2, 2), torch.zeros(2, 1, 2, 2))
    relu = isinstance(activation, nn.ReLU)
    assert found["relu_channel_zero"].tolist() == [100, 0, 100 if relu else 0, 0]
    assert found["trained/relu_channels_off"] == (50 if relu else 25)
    assert found["relu_shapes"].tolist() == [[4, 2, 2]]


def test_after_a_linear_layer_the_channels_come_last():
    model = nn.Sequential(nn.Linear(2, 3), nn.GELU(), nn.Linear(3, 1), nn.Tanh())
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor([-9.0, 1.0, 1.0]))
    found = observed(model, torch.zeros(5, 7, 2))  # seven tokens
    assert found["relu_shapes"].tolist() == [[3, 7, 1]]
    assert found["relu_channel_zero"].tolist() == [100, 0, 0]
    assert found["trained/relu_units_off"] == pytest.approx(100 / 3)


def test_a_unit_that_is_low_on_some_inputs_only_is_not_off():
    model = nn.Sequential(nn.GELU())
    found = observed(model, torch.tensor([[-9.0, -9.0], [1.0, -9.0]]))
    assert found["relu_channel_zero"].tolist() == [50, 100]
    assert found["trained/relu_units_off"] == 50


def test_without_such_activations_nothing_is_said_of_them():
    found = observed(nn.Sequential(nn.Linear(2, 1), nn.ELU()), torch.zeros(2, 2))
    assert "relu_shapes" not in found
    assert "trained/relu_units_off" not in found
