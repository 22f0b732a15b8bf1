"""What a trial costs: parameters, FLOPs, checkpoint and memory bytes. No torch.

In closed form of what is built in; of other networks as they were described, 0 where they were not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from orchestrator.planning import described, memory
from orchestrator.planning.gradients import (
    all_gradient_elements,
    first_trained,
    totals,
    weight_trains,
)
from orchestrator.planning.memory import optimizer_slots
from trainer.data_sets import data_set
from trainer.modes import RANDOM_K, Counts, count
from trainer.networks.layers import Layer
from trainer.spec import TrialSpec, classes_of, layers_of

_FP32 = 4


def counts(spec: TrialSpec) -> Counts:
    """Parameter counts as in the paper's Table 1, and how many train in the spec's mode."""
    return described.facts(spec).counts if spec.own else _counts(spec)


@lru_cache(maxsize=4096)
def _counts(spec: TrialSpec) -> Counts:
    layers = totals(layers_of(spec))
    trainable = all_gradient_elements(layers_of(spec), spec.trainable)
    if spec.trainable == RANDOM_K:
        trainable = _random_k(layers, spec.k)
    parameters = (
        (role, times * size) for layer, times in layers.items() for role, size in layer.parameters
    )
    return count(parameters, trainable)


def _random_k(layers: Counter[Layer], k: int) -> int:
    """k weights of each output channel of each convolution, shortcuts included."""
    return sum(
        times * layer.outputs * min(k, layer.weights // layer.outputs)
        for layer, times in layers.items()
        if layer.kind == "conv"
    )


def flops_per_image(spec: TrialSpec) -> int:
    """Floating-point operations of one forward pass, counted as `torch.utils.flop_counter` does:
    convolutions and the output layer, a multiply-add as two."""
    return described.facts(spec).flops_per_image if spec.own else _flops_per_image(spec)


@lru_cache(maxsize=4096)
def _flops_per_image(spec: TrialSpec) -> int:
    return sum(times * layer.flops for layer, times in totals(layers_of(spec)).items())


def training_images(spec: TrialSpec) -> int | None:
    """Images in an epoch, those for validation not among them; None: only the data tells."""
    known = data_set(spec.dataset).train_images or described.training_images(spec)
    return spec.train_subset or (known - spec.validation if known else None)


def training_flops(spec: TrialSpec) -> float:
    """Operations of the whole training, roughly: a layer's backward pass as one forward pass for
    the gradient of its input and one for that of its weight where it trains; none in front of the
    first layer that trains."""
    step = flops_per_image(spec) + _backward_flops(spec)
    return float(step) * (training_images(spec) or 0) * spec.epochs


def _backward_flops(spec: TrialSpec) -> int:
    """Of one image."""
    if spec.own:
        return described.facts(spec).backward_flops_per_image
    layers = layers_of(spec)
    behind = totals(layers[first_trained(layers, spec.trainable) :])
    return sum(
        times * layer.flops * (2 if weight_trains(layer, spec.trainable) else 1)
        for layer, times in behind.items()
    )


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Optimizer updates in an epoch: the last, short batch is kept."""
    return -(-images // batch_size)


def checkpoint_bytes(spec: TrialSpec) -> int:
    """Size of the last checkpoint: what trains, its optimizer state, the running statistics, and a
    header with the history (measured: 70 bytes an epoch)."""
    trained = counts(spec).trainable * (1 + optimizer_slots(spec))
    tensors = _FP32 * (trained + _statistics(spec))
    return tensors + 3_400 + 70 * spec.epochs


def memory_bytes(spec: TrialSpec) -> int:
    """Peak bytes of the tensors of one trial."""
    return memory.described_bytes(spec) if spec.own else memory.memory_bytes(spec)


def _statistics(spec: TrialSpec) -> int:
    """Elements of running statistics: as many as γ and β of all BatchNorms."""
    return described.facts(spec).statistics if spec.own else counts(spec).bn


def _tensor_bytes(spec: TrialSpec) -> int:
    """Of a finished trial's tensors and probes: what depends on its network."""
    if spec.own:
        return _FP32 * (counts(spec).trainable + _statistics(spec))
    layers = layers_of(spec)
    tensors = all_gradient_elements(layers, spec.trainable) + counts(spec).bn
    return _FP32 * tensors + 1_000 * sum(times for _, times in layers)


def kept_bytes(spec: TrialSpec) -> int:
    """About what a finished trial leaves in the store: the tensors that it trained, statistics,
    probes with their picture, proof of freezing, history twice (constants measured)."""
    return _tensor_bytes(spec) + 60_000 + 1_000 * spec.epochs


def initial_weights_bytes(specs: Iterable[TrialSpec]) -> int:
    """Size of the copies of initial weights: one for all trials that begin with the same, none
    where everything trains."""
    partly = (spec for spec in specs if counts(spec).trainable < counts(spec).total)
    return _FP32 * sum({_beginning(spec): counts(spec).total for spec in partly}.values())


def trial_bytes(spec: TrialSpec) -> int:
    """The most that a trial needs of the store while it trains: two checkpoints, within an epoch
    with each step's loss and hits, its copy of the initial weights, and what it leaves."""
    steps = steps_per_epoch(training_images(spec) or 0, spec.batch_size)
    checkpoints = 2 * (checkpoint_bytes(spec) + 2 * _FP32 * steps)
    return checkpoints + initial_weights_bytes([spec]) + kept_bytes(spec)


def _beginning(spec: TrialSpec) -> tuple[object, ...]:
    """What two trials with the same initial weights have in common."""
    network = (spec.model, spec.depth, spec.width, classes_of(spec))
    own = (spec.code_sha256, spec.options, spec.dataset, spec.image_size) if spec.own else ()
    return (*network, *own, spec.init, spec.bn_init, spec.weights_sha256, spec.seed)
