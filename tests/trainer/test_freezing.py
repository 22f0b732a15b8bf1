"""Every freezing mode: what trains moves, and what is frozen stays bit for bit."""

import pytest
import torch
import torch.nn.functional as F

from trainer import freezing
from trainer.errors import FreezeViolation
from trainer.modes import MODES
from trainer.networks import roles
from trainer.spec import TrialSpec
from trainer.weights import initial

PLACES = ("body", "shortcut")


def spec_of(mode, **fields):
    return TrialSpec(
        depth=8, dataset="synthetic", trainable=mode, k=2 if mode == "random_k" else 0, **fields
    )


def two_steps(model, trained, side=8):
    """SGD with weight decay and momentum, on the trained tensors; random_k through its masks."""
    images = torch.rand(8, 3, side, side, generator=torch.Generator().manual_seed(1))
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
    model = initial.build(spec)
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
    model = initial.build(spec)
    role_of = roles.roles_of(model)
    names = freezing.freeze(model, spec).names
    assert {(role_of[n].kind, role_of[n].place) for n in names} == kinds
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
    model = initial.build(spec)
    assert freezing.freeze(model, spec).count(model) == count


def test_random_k_picks_k_elements_of_each_output_channel_from_the_seed():
    def chosen(seed):
        spec = spec_of("random_k", seed=seed)
        model = initial.build(spec)
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


def test_random_k_of_a_channels_size_trains_the_whole_channel():
    spec = spec_of("random_k").changed(k=16)
    model = initial.build(spec)
    trained = freezing.freeze(model, spec)
    name = next(n for n in trained.names if model.get_parameter(n)[0].numel() == 16)
    assert trained.indices[name].tolist() == list(range(model.get_parameter(name).numel()))


BIASED = [("bottleneck_resnet", mode) for mode in MODES]
BIASED += [("cifar_vgg", mode) for mode in MODES if not mode.startswith("shortcut")]


@pytest.mark.parametrize(("model", "mode"), BIASED)
def test_networks_with_biased_convolutions_freeze_by_the_same_rules(model, mode):
    spec = spec_of(mode).changed(model=model, depth=11)
    built = initial.build(spec)
    trained = freezing.freeze(built, spec)
    before = freezing.snapshot(built, trained)
    two_steps(built, trained, side=32)
    proof = freezing.prove(before, built, trained)
    assert proof["changed"] == list(trained.names)


def frozen_bn():
    spec = spec_of("bn_only")
    model = initial.build(spec)
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
    model = initial.build(spec)
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
    digests = {freezing.snapshot(initial.build(spec_of(mode))).digest for mode in MODES}
    assert len(digests) == 1


# -- what should train and did not -----------------------------------------------------------


def batch():
    return torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(8)


def test_a_declared_tensor_that_no_update_reached_fails_the_proof_by_name():
    model, trained = frozen_bn()
    before = freezing.snapshot(model, trained)
    kept = model.bn1.weight.detach().clone()
    two_steps(model, trained)
    with torch.no_grad():
        model.bn1.weight.copy_(kept)  # as if the optimizer had forgotten it
    with pytest.raises(FreezeViolation, match=r"^should train, but did not change: bn1\.weight$"):
        freezing.prove(before, model, trained, batch, rate=0.1)


def test_a_declared_tensor_without_a_gradient_fails_the_proof():
    model, trained = frozen_bn()
    more = freezing.Trained((*trained.names, "fc.bias"))
    before = freezing.snapshot(model, more)
    two_steps(model, trained)
    with pytest.raises(FreezeViolation, match=r"did not change: fc\.bias$"):
        freezing.prove(before, model, more, batch, rate=0.1)


def test_both_faults_are_named_in_one_message():
    model, trained = frozen_bn()
    before = freezing.snapshot(model, trained)
    with torch.no_grad():
        model.fc.bias += 1
    with pytest.raises(FreezeViolation, match=r"^frozen, but changed: fc\.bias; should train, but"):
        freezing.prove(before, model, trained, batch, rate=0.1)


def test_without_an_update_nothing_needs_to_have_moved():
    model, trained = frozen_bn()
    proof = freezing.prove(freezing.snapshot(model, trained), model, trained)
    assert proof["stuck"] == list(trained.names)
    assert proof["changed"] == []


def test_a_tensor_behind_a_gamma_of_zero_is_stuck_and_no_violation():
    model, trained = frozen_bn()
    block = model.layer1[0]
    with torch.no_grad():
        block.bn2.weight.zero_()
    for parameter in (block.bn2.weight, block.bn2.bias):
        parameter.requires_grad_(False)
    trained = freezing.Trained(tuple(n for n in trained.names if "layer1.0.bn2" not in n))
    before = freezing.snapshot(model, trained)
    images, labels = batch()
    parameters = [model.get_parameter(name) for name in trained.names]
    loss = F.cross_entropy(model(images), labels)
    with torch.no_grad():
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(loss, parameters), strict=True
        ):
            parameter -= 0.1 * gradient
    proof = freezing.prove(before, model, trained, batch, rate=0.1)
    assert proof["stuck"] == ["layer1.0.bn1.weight", "layer1.0.bn1.bias"]


def test_a_rate_that_rounding_swallows_moves_nothing_and_breaks_nothing():
    model, trained = frozen_bn()
    trained = freezing.Trained(tuple(n for n in trained.names if n.endswith("weight")))
    before = freezing.snapshot(model, trained)
    proof = freezing.prove(before, model, trained, batch, rate=1e-30)
    assert proof["stuck"] == list(trained.names)


def test_looking_for_what_could_move_leaves_the_network_as_it_was():
    model, trained = frozen_bn()
    model.eval()
    before, state = freezing.snapshot(model, trained), model.state_dict()
    state = {name: tensor.clone() for name, tensor in state.items()}
    with pytest.raises(FreezeViolation):
        freezing.prove(before, model, trained, batch, rate=0.1)
    assert not model.training
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_elements_of_random_k_that_stayed_are_counted_and_a_whole_tensor_is_a_violation():
    spec = spec_of("random_k")
    model = initial.build(spec)
    trained = freezing.freeze(model, spec)
    before = freezing.snapshot(model, trained)
    kept = model.conv1.weight.detach().clone()
    two_steps(model, trained)
    one = trained.indices["conv1.weight"][3]
    with torch.no_grad():
        model.conv1.weight.view(-1)[one] = kept.view(-1)[one]
    proof = freezing.prove(before, model, trained, batch, rate=0.1)
    assert proof["stuck_elements"]["conv1.weight"] == 1
    with torch.no_grad():
        model.conv1.weight.copy_(kept)
    with pytest.raises(FreezeViolation, match=r"did not change: conv1\.weight$"):
        freezing.prove(before, model, trained, batch, rate=0.1)


def test_the_digests_do_not_depend_on_the_memory_format():
    spec = spec_of("random_k")
    model = initial.build(spec)
    trained = freezing.freeze(model, spec)
    plain = freezing.snapshot(model, trained)
    last = freezing.snapshot(model.to(memory_format=torch.channels_last), trained)
    assert (plain.each, plain.rest) == (last.each, last.rest)
