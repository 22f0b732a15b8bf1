"""Every freezing mode: what trains moves, and what is frozen stays bit for bit."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from freezing_check import batch, check_two_steps, two_steps

from trainer import freezing
from trainer.errors import FreezeViolation
from trainer.kernels import build
from trainer.learner import Learner
from trainer.modes import MODES
from trainer.networks import roles
from trainer.spec import TrialSpec
from trainer.weights import initial

PLACES = ("body", "shortcut")


def spec_of(mode, **fields):
    return TrialSpec(
        depth=8,
        dataset="synthetic",
        trainable=mode,
        k=2 if mode == "random_k" else 0,
        weight_decay=0.01,
        **fields,
    )


def learner_of(spec, kernels="stock", network=None):
    return Learner(spec, torch.device("cpu"), kernels, network=network)


needs_kernel = pytest.mark.skipif(bool(build.problem()), reason=build.problem() or "-")


@pytest.mark.parametrize("kernels", ["stock", pytest.param("fused", marks=needs_kernel)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("mode", MODES)
def test_after_two_steps_only_what_the_mode_names_has_changed(mode, precision, kernels):
    check_two_steps(learner_of(spec_of(mode, precision=precision), kernels))


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("mode", ["bn_only", "random_k"])
def test_no_optimizer_touches_what_is_frozen(mode, optimizer):
    check_two_steps(learner_of(spec_of(mode, optimizer=optimizer, lr=0.001)))


# -- planted faults: the check above must find each -------------------------------------------


def trains_also(name):
    """A frozen parameter's name in the flat vector."""

    def planted(spec):
        network = initial.prepare(spec)
        network.model.get_parameter(name).requires_grad_()
        trained = replace(network.trained, names=(*network.trained.names, name))
        return learner_of(spec, network=replace(network, trained=trained))

    return planted


def forgets(name):
    """A trained parameter's name is not in the flat vector."""

    def planted(spec):
        network = initial.prepare(spec)
        names = tuple(other for other in network.trained.names if other != name)
        trained = replace(network.trained, names=names)
        return learner_of(spec, network=replace(network, trained=trained))

    return planted


def decays_every_parameter(spec):
    """Weight decay as an optimizer over `model.parameters()` would apply it."""
    learner = learner_of(spec)
    update = learner.optimizer.update

    def planted(values, gradient, rate, step):
        update(values, gradient, rate, step)
        for parameter in learner.model.parameters():
            parameter.data.mul_(1 - rate * spec.weight_decay)

    learner.optimizer.update = planted
    return learner


def decays_whole_tensors(spec):
    """Weight decay on the elements between the trained ones."""
    learner = learner_of(spec)
    update = learner.optimizer.update

    def planted(values, gradient, rate, step):
        update(values, gradient, rate, step)
        learner.flat.weights.mul_(1 - rate * spec.weight_decay)  # `publish` mends the trained ones

    learner.optimizer.update = planted
    return learner


def remembers_whole_tensors(spec):
    """Momentum gathered before the mask: the first step is right, the second moves the rest."""
    learner = learner_of(spec)
    flat, update = learner.flat, learner.optimizer.update
    masked_gradient, velocity = flat.gradient, torch.zeros_like(flat.weights)
    whole = []

    def gradient(loss):
        gradients = torch.autograd.grad(loss, flat.parameters, retain_graph=True)
        whole.append(torch.cat([each.flatten() for each in gradients]))
        return masked_gradient(loss)

    def planted(values, gradient, rate, step):
        update(values, gradient, rate, step)
        flat.weights.add_(velocity, alpha=-rate * spec.momentum)
        velocity.mul_(spec.momentum).add_(whole[-1])

    flat.gradient, learner.optimizer.update = gradient, planted
    return learner


@pytest.mark.parametrize(
    ("mode", "fault", "message"),
    [
        ("bn_only", trains_also("fc.bias"), r"^fc\.bias: 10 frozen elements changed"),
        ("nothing", trains_also("fc.bias"), r"^fc\.bias: 10 frozen elements changed"),
        ("bn_only", forgets("bn1.bias"), r"^bn1\.bias: unchanged"),
        ("bn_only", decays_every_parameter, r"^conv1\.weight: 432 frozen elements changed"),
        ("random_k", decays_every_parameter, r"^conv1\.weight: 400 frozen elements changed"),
        ("random_k", decays_whole_tensors, r"^conv1\.weight: 400 frozen elements changed"),
        ("random_k", remembers_whole_tensors, r"^conv1\.weight: \d+ frozen elements changed"),
    ],
)
def test_a_planted_fault_is_found_by_two_steps(mode, fault, message):
    with pytest.raises(AssertionError, match=message):
        check_two_steps(fault(spec_of(mode)))


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
    learner = learner_of(spec)
    check_two_steps(learner, side=32)
    proof = freezing.prove(learner.initial, learner.model, learner.trained)
    assert proof["changed"] == list(learner.trained.names)


def frozen_bn():
    spec = spec_of("bn_only")
    model = initial.build(spec)
    return model, freezing.freeze(model, spec)


def test_the_proof_of_an_honest_run_names_what_changed():
    learner = learner_of(spec_of("bn_only"))
    two_steps(learner)
    proof = freezing.prove(learner.initial, learner.model, learner.trained)
    assert proof["violations"] == []
    assert set(proof["changed"]) == set(learner.trained.names)


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


def test_a_declared_tensor_that_no_update_reached_fails_the_proof_by_name():
    learner = learner_of(spec_of("bn_only"))
    model = learner.model
    kept = model.bn1.weight.detach().clone()
    two_steps(learner)
    with torch.no_grad():
        model.bn1.weight.copy_(kept)  # as if the optimizer had forgotten it
    with pytest.raises(FreezeViolation, match=r"^should train, but did not change: bn1\.weight$"):
        freezing.prove(learner.initial, model, learner.trained, batch, rate=0.1)


def test_a_declared_tensor_without_a_gradient_fails_the_proof():
    learner = learner_of(spec_of("bn_only"))
    more = freezing.Trained((*learner.trained.names, "fc.bias"))
    two_steps(learner)
    with pytest.raises(FreezeViolation, match=r"did not change: fc\.bias$"):
        freezing.prove(learner.initial, learner.model, more, batch, rate=0.1)


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
    learner = learner_of(spec_of("random_k"))
    model, trained, before = learner.model, learner.trained, learner.initial
    kept = model.conv1.weight.detach().clone()
    two_steps(learner)
    place = torch.unravel_index(trained.indices["conv1.weight"][3], kept.shape)
    with torch.no_grad():
        model.conv1.weight[place] = kept[place]
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
