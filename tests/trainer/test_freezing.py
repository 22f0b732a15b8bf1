"""Every freezing mode: what trains moves, and what is frozen stays bit for bit."""

from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from trainer import freezing, models, seeding
from trainer.errors import FreezeViolation
from trainer.spec import Trainable, TrialSpec

MODES = get_args(Trainable)
PLACES = ("body", "shortcut")


def spec_of(mode, **fields):
    return TrialSpec(
        depth=8, dataset="synthetic", trainable=mode, k=2 if mode == "random_k" else 0, **fields
    )


def two_steps(model, trained):
    """SGD with weight decay and momentum, on the trained tensors; random_k through its masks."""
    images = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(8)
    parameters = [model.get_parameter(name) for name in trained.names]
    if not parameters:
        return
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-2)
    for _ in range(2):
        before = {n: model.get_parameter(n).detach().clone() for n in trained.indices}
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        with torch.no_grad():
            for name, old in before.items():
                keep = torch.ones(old.numel(), dtype=torch.bool)
                keep[trained.indices[name]] = False
                model.get_parameter(name).view(-1)[keep] = old.view(-1)[keep]


@pytest.mark.parametrize("mode", MODES)
def test_after_two_steps_only_what_the_mode_names_has_changed(mode):
    spec = spec_of(mode)
    model = models.build(spec)
    trained = freezing.freeze(model, spec)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    two_steps(model, trained)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) is (name not in trained.names), name
        if name in trained.indices:
            frozen = torch.ones(parameter.numel(), dtype=torch.bool)
            frozen[trained.indices[name]] = False
            assert torch.equal(parameter.view(-1)[frozen], before[name].view(-1)[frozen])


@pytest.mark.parametrize(
    ("mode", "kinds"),
    [
        ("bn_only", {(kind, place) for kind in ("gamma", "beta") for place in PLACES}),
        ("output_only", {("linear_weight", "output"), ("bias", "output")}),
        ("shortcut_only", {("conv_weight", "shortcut")}),
        ("gamma_only", {("gamma", "body"), ("gamma", "shortcut")}),
        ("bias_only", {("beta", "body"), ("beta", "shortcut"), ("bias", "output")}),
        ("random_k", {("conv_weight", "body"), ("conv_weight", "shortcut")}),
        ("nothing", set()),
    ],
)  # fmt: skip
def test_a_mode_trains_parameters_by_their_role(mode, kinds):
    spec = spec_of(mode)
    model = models.build(spec)
    roles = models.roles(model)
    names = freezing.freeze(model, spec).names
    assert {(roles[n].kind, roles[n].place) for n in names} == kinds
    assert [n for n, p in model.named_parameters() if p.requires_grad] == list(names)


@pytest.mark.parametrize(
    ("mode", "count"),
    [
        ("all", 1_730_714),
        ("bn_only", 8_288),
        ("nothing", 0),
        ("output_only", 650),
        ("bn_output", 8_938),
        ("shortcut_only", 2_560),
        ("shortcut_output", 3_210),
        ("bn_shortcut_output", 11_498),
        ("all_but_bn", 1_722_426),
        ("random_k", 8_288),
    ],
)
def test_the_counts_of_the_papers_table_at_resnet_110(mode, count):
    spec = spec_of(mode).changed(depth=110, dataset="cifar10")
    model = models.build(spec)
    assert freezing.freeze(model, spec).count(model) == count


def test_random_k_picks_k_elements_of_each_output_channel_from_the_seed():
    def chosen(seed):
        spec = spec_of("random_k", seed=seed)
        model = models.build(spec)
        return model, freezing.freeze(model, spec).indices

    model, first = chosen(0)
    for name, indices in first.items():
        weight = model.get_parameter(name)
        picked = torch.bincount(indices // weight[0].numel(), minlength=weight.shape[0])
        assert picked.tolist() == [2] * weight.shape[0]
        assert len(set(indices.tolist())) == len(indices)
    again, other = chosen(0)[1], chosen(1)[1]
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not all(torch.equal(first[n], other[n]) for n in first)


def frozen_bn():
    spec = spec_of("bn_only")
    model = models.build(spec)
    return model, freezing.freeze(model, spec)


def test_the_proof_of_an_honest_run_names_what_changed():
    model, trained = frozen_bn()
    before = freezing.snapshot(model, trained)
    two_steps(model, trained)
    proof = freezing.prove(before, model, trained)
    assert proof["violations"] == []
    assert set(proof["changed"]) == set(trained.names)


def test_a_frozen_tensor_that_changed_fails_the_proof_by_name():
    model, trained = frozen_bn()
    before = freezing.snapshot(model, trained)
    with torch.no_grad():
        model.get_parameter("fc.bias")[3] += 1e-7
    with pytest.raises(FreezeViolation, match=r"fc\.bias"):
        freezing.prove(before, model, trained)


def test_one_frozen_element_of_a_partly_trained_tensor_fails_the_proof():
    spec = spec_of("random_k")
    model = models.build(spec)
    trained = freezing.freeze(model, spec)
    before = freezing.snapshot(model, trained)
    indices = trained.indices["conv1.weight"].tolist()
    untouched = next(i for i in range(1000) if i not in indices)
    with torch.no_grad():
        model.get_parameter("conv1.weight").view(-1)[indices[0]] += 1.0
    assert freezing.prove(before, model, trained)["changed"] == ["conv1.weight"]
    with torch.no_grad():
        model.get_parameter("conv1.weight").view(-1)[untouched] += 1.0
    with pytest.raises(FreezeViolation, match=r"conv1\.weight \(frozen elements\)"):
        freezing.prove(before, model, trained)


def test_the_modes_of_one_seed_start_from_the_same_weights():
    digests = {freezing.snapshot(models.build(spec_of(mode))).digest for mode in MODES}
    assert len(digests) == 1


def test_seeds_and_streams_are_independent():
    def first(*key):
        return torch.rand(4, generator=seeding.generator(*key)).tolist()

    keys = [(0, "init"), (1, "init"), (0, "order", 1), (0, "order", 2), (0, "augment", 1)]
    draws = [first(*key) for key in keys]
    assert len({tuple(d) for d in draws}) == len(keys)
    assert first(0, "order", 1) == draws[2]
