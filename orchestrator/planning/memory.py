"""The peak of the tensors alive while a trial trains, in closed form. No torch.

Counted are weights, running statistics, optimizer state, gradients, what autograd keeps for the
backward pass (each BatchNorm's input, each ReLU's output), buffers of the operation at the peak,
and the evaluation, whose batches are larger. Not counted: the data set, workspaces that a GPU's
libraries take, the device's context, the process. The plain kernels are meant, as on a GPU; the
CPU's fused kernel keeps less where convolutions are frozen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from orchestrator.planning import described
from orchestrator.planning.gradients import (
    all_gradient_elements,
    first_trained,
    gradient_elements,
)
from trainer.data_sets import DATA_SETS
from trainer.modes import RANDOM_K
from trainer.networks.descriptions import Layers
from trainer.networks.layers import Layer
from trainer.spec import TrialSpec, image_size_of, layers_of

FP32 = 4
BF16 = 2


def optimizer_slots(spec: TrialSpec) -> int:
    """Numbers the optimizer keeps for each trained parameter."""
    if spec.optimizer == "sgd":
        return 1 if spec.momentum else 0
    return 2


def described_bytes(spec: TrialSpec) -> int:
    """About the peak of a trial that is not built in; 0 where it was not described."""
    facts = described.facts(spec)
    counts = facts.counts
    held = counts.total + facts.statistics + counts.trainable * optimizer_slots(spec)
    passes = spec.group_size * facts.activation_bytes_per_image + FP32 * counts.trainable
    update = FP32 * counts.trainable * _update_copies(spec)
    return FP32 * held + max(passes + _sum(spec, counts.trainable), update)


@lru_cache(maxsize=4096)
def memory_bytes(spec: TrialSpec) -> int:
    """Peak bytes of one trial: the most of building, evaluating, a step's passes and its update."""
    layers = layers_of(spec)
    gradients = all_gradient_elements(layers, spec.trainable)
    element = BF16 if spec.precision == "bf16" else FP32
    kernels = FP32 * max(layer.weights for layer, _ in layers)  # of a convolution, reordered
    weights = sum(times * layer.weights for layer, times in layers)
    cast = BF16 * weights if spec.precision == "bf16" else 0
    pixels = layers[0][0].inputs * image_size_of(spec) ** 2
    images = pixels * (FP32 + (element if cast else 0))
    frozen = images + element * max(_alive_frozen([layer for layer, _ in layers]))
    waiting = (spec.batch_size - spec.group_size) * FP32 * pixels
    training = max(
        spec.group_size * frozen,
        spec.group_size * images + max(_alive_training(layers, spec, element), default=0),
    )
    data_set = DATA_SETS[spec.dataset]
    validated = min(spec.validation, data_set.evaluation_batch)
    passes = max(
        max(data_set.evaluated_together, validated) * frozen,
        training + waiting + _sum(spec, gradients),
    )
    buffers = max(passes + kernels + cast, FP32 * gradients * _update_copies(spec))
    return FP32 * _held(spec, layers, gradients) + buffers


def _held(spec: TrialSpec, layers: Layers, gradients: int) -> int:
    """Elements that stay all the time: weights, running statistics, optimizer state."""
    weights = sum(times * (layer.weights + layer.biases) for layer, times in layers)
    statistics = sum(2 * times * layer.outputs for layer, times in layers if layer.kind == "norm")
    trained = 0 if spec.trainable == RANDOM_K else gradients  # few: not worth an exact count
    return weights + statistics + trained * optimizer_slots(spec)


def _update_copies(spec: TrialSpec) -> int:
    """Vectors as long as the gradient that an update, or adding a group's, needs at once."""
    adding = 3 if spec.group_size < spec.batch_size else 0
    return max(adding, 2 if spec.optimizer == "sgd" else 3)


def _sum(spec: TrialSpec, gradients: int) -> int:
    """Bytes of the sum over the groups of a batch, where there are several."""
    return FP32 * gradients if spec.group_size < spec.batch_size else 0


def _alive_frozen(layers: Sequence[Layer]) -> Iterator[int]:
    """For one image, elements alive at each BatchNorm and pool of a forward that keeps nothing.

    A block that repeats needs the same each time between its first and its last. With residuals,
    its input is held until its end, and the first one's to the last.
    """
    residuals = any(layer.adds for layer in layers)
    held, entry = 0, layers[1].map_elements
    for index, layer in enumerate(layers):
        first = 0 if held == entry or not residuals or index < 2 else entry
        if layer.kind == "pool":
            yield 7 * layer.map_elements  # its input, its output and 8 bytes for each index
            held = entry = layer.map_elements
        elif layer.adds:
            shortcut = layers[index + 1].shortcut
            inner = layers[index - 1].inputs * layer.size**2
            yield first + held + inner + (4 if shortcut else 3) * layer.map_elements
            held = layer.map_elements + 1  # another tensor than the first, though as large
        elif layer.kind == "norm":
            yield first + held + 2 * layer.map_elements
            held = held if residuals and index > 1 else layer.map_elements


def _alive_training(layers: Layers, spec: TrialSpec, element: int) -> Iterator[int]:
    """Bytes alive at each layer of the forward and then of the backward pass, for a group.

    Where a block repeats, they grow or fall by as much each time: the first and the last time have
    the most, and those between are only added up.
    """
    start = first_trained(layers, spec.trainable)
    if start < len(layers) and layers[start][0].kind == "norm":
        start -= 1  # whose output the BatchNorm keeps
    batch = spec.group_size * element
    stem = layers[1][0].map_elements if start > 1 else 0
    kept = [_kept_before([layer for layer, _ in layers], start)]
    of_layer = {layer: _kept(layer) for layer, _ in set(layers)}
    for layer, times in layers[start:]:
        kept.append(kept[-1] + times * of_layer[layer])
        if times == 1:
            yield batch * (kept[-1] + stem + layer.map_elements)
    done, gradients = 0, {layer: gradient_elements(layer, spec.trainable) for layer in of_layer}
    for (layer, times), before in zip(reversed(layers[start:]), reversed(kept[1:]), strict=True):
        if times == 1:
            yield batch * (before + 3 * layer.map_elements) + FP32 * done
        done += times * gradients[layer]


def _kept_before(layers: Sequence[Layer], start: int) -> int:
    """What a first trained shortcut keeps of the frozen part: its input, and its block's output."""
    if start == len(layers) or not layers[start].shortcut:
        return 0
    last, shortcut = layers[start - 1], layers[start]
    stride = 2 if shortcut.inputs < shortcut.outputs and last.size < layers[0].size else 1
    return last.map_elements + shortcut.inputs * (shortcut.size * stride) ** 2


def _kept(layer: Layer) -> int:
    """Elements that the backward pass needs of one image (a pool's indices are 8 bytes each)."""
    if layer.kind == "pool":
        return 3 * layer.map_elements
    if layer.kind == "conv":
        return layer.map_elements if layer.feeds_norm else 0
    return layer.map_elements if layer.relu or layer.kind == "linear" else 0
