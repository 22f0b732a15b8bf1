"""Initial weights: the right distribution, from the seed alone, on any number of threads."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch

from trainer import freezing
from trainer.networks import roles
from trainer.spec import BnInit, Init, TrialSpec
from trainer.weights import initial, random_init

BASE = TrialSpec(depth=14, dataset="cifar10")


def built(**fields):
    return initial.build(BASE.changed(**fields))


def weight(**fields):
    return built(**fields).layer3[1].conv1.weight.detach()


def test_kaiming_normal_has_he_et_als_spread():
    values = weight(init="kaiming_normal")
    assert values.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert abs(values.mean().item()) < 1e-3


def test_kaiming_uniform_has_the_same_spread_and_a_bound():
    values = weight(init="kaiming_uniform")
    assert values.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert values.abs().max() <= (6 / (64 * 9)) ** 0.5


def test_binary_is_the_sign_of_a_kaiming_normal_draw_times_its_std():
    normal, binary = weight(init="kaiming_normal"), weight(init="binary")
    assert torch.equal(binary, normal.sign() * normal.std())


def test_orthogonal_rows_are_orthonormal():
    rows = weight(init="orthogonal").flatten(1)
    assert torch.allclose(rows @ rows.T, torch.eye(64), atol=1e-5)


def test_glorot_uniform_has_its_bound():
    values = weight(init="glorot_uniform")
    bound = (6 / (64 * 9 + 64 * 9)) ** 0.5
    assert 0.99 * bound < values.abs().max() <= bound


@pytest.mark.parametrize(
    ("bn_init", "low", "high", "beta"),
    [
        ("uniform", 0, 1, 0),
        ("positivenegative", -1, 1, 0),
        ("fixed", 1, 1, 0),
        ("oneone", 1, 1, 1),
    ],
)
def test_batchnorm_starts_as_its_variant_says(bn_init, low, high, beta):
    model = built(bn_init=bn_init)
    role_of = roles.roles_of(model)
    gammas = torch.cat([model.get_parameter(n) for n, r in role_of.items() if r.kind == "gamma"])
    betas = torch.cat([model.get_parameter(n) for n, r in role_of.items() if r.kind == "beta"])
    assert (betas == beta).all()
    assert gammas.min() >= low
    assert gammas.max() <= high
    assert gammas.mean().item() == pytest.approx((low + high) / 2, abs=0.06)
    assert (model.bn1.running_mean == 0).all()
    assert (model.bn1.running_var == 1).all()


def test_biases_are_pytorchs_default():
    model = built()
    assert 0.5 / 8 < model.fc.bias.abs().max() <= 1 / 8


@pytest.mark.parametrize("init", get_args(Init))
@pytest.mark.parametrize("bn_init", get_args(BnInit))
def test_every_variant_fills_every_number(init, bn_init):
    model = built(init=init, bn_init=bn_init, depth=8)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def digest(**fields):
    return freezing.snapshot(built(**fields)).digest


def test_one_seed_gives_one_network_and_another_seed_another():
    torch.manual_seed(1)
    first = digest()
    torch.manual_seed(2)
    assert digest() == first
    assert digest(seed=1) != first


@pytest.mark.parametrize("init", get_args(Init))
def test_the_number_of_threads_changes_nothing(init):
    before = torch.get_num_threads()
    found = set()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.add(digest(init=init, depth=8))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


def test_a_module_without_a_rule_is_not_left_full_of_garbage():
    with pytest.raises(AssertionError, match="PReLU"):
        random_init.initialise(torch.nn.Sequential(torch.nn.PReLU()), BASE)


def test_initialising_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    built()
    assert torch.equal(torch.get_rng_state(), state)


def test_glorots_weights_come_with_keras_zero_biases():
    model = built(model="bottleneck_resnet", depth=11, init="glorot_uniform")
    role_of = roles.roles_of(model)
    biases = [model.get_parameter(name) for name, role in role_of.items() if role.kind == "bias"]
    assert len(biases) == 14  # stem, 3 blocks of 3 and a shortcut each, output
    assert all((bias == 0).all() for bias in biases)


GOLDEN = Path(__file__).parents[2] / "golden" / "initial_values.json"


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT",
    reason="torch draws other numbers on a CPU without vector instructions",
)
@pytest.mark.parametrize("case", json.loads(GOLDEN.read_text()), ids=lambda case: case["id"])
def test_initial_values_are_pinned(case):
    """A change here changes every trial's numbers: raise the spec's IDENTITY_VERSION."""
    model = built(**case["fields"])
    for name, expected in case["values"].items():
        values = model.get_parameter(name).detach().flatten()[: len(expected)]
        assert values.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-7), name
