"""What a trial costs, in closed form: parameters, FLOPs, checkpoint and memory bytes. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from orchestrator.architectures import Layer, layers_of
from trainer.results import Counts
from trainer.spec import TRAIN_IMAGES, TrialSpec

_FP32 = 4
_BF16 = 2


@lru_cache(maxsize=4096)
def counts(spec: TrialSpec) -> Counts:
    """Parameter counts as in the paper's Table 1, and how many train in the spec's mode."""
    layers = layers_of(spec)
    bn = _parameters(layer for layer in layers if layer.kind == "norm")
    output = _parameters(layer for layer in layers if layer.kind == "linear")
    shortcuts = [layer for layer in layers if layer.kind == "conv" and layer.shortcut]
    shortcut = _parameters(shortcuts)
    total = _parameters(layers)
    trainable = {
        "all": total,
        "bn_only": bn,
        "output_only": output,
        "bn_output": bn + output,
        "shortcut_only": shortcut,
        "shortcut_output": shortcut + output,
        "bn_shortcut_output": bn + shortcut + output,
        "all_but_bn": total - bn,
        "random_k": _random_k(layers, spec.k),
        "gamma_only": bn // 2,
        "beta_only": bn // 2,
        "bias_only": sum(layer.biases for layer in layers),
        "nothing": 0,
    }[spec.trainable]
    weights = sum(layer.weights for layer in shortcuts)  # as in the table: without their biases
    return Counts(total=total, trainable=trainable, bn=bn, output=output, shortcut=weights)


def _parameters(layers: Iterable[Layer]) -> int:
    return sum(layer.weights + layer.biases for layer in layers)


def _random_k(layers: Iterable[Layer], k: int) -> int:
    """k weights of each output channel of each convolution, shortcuts included."""
    convs = [layer for layer in layers if layer.kind == "conv"]
    return sum(layer.outputs * min(k, layer.weights // layer.outputs) for layer in convs)


@lru_cache(maxsize=4096)
def flops_per_image(spec: TrialSpec) -> int:
    """Floating-point operations of one forward pass, counted as `torch.utils.flop_counter` does:
    convolutions and the output layer, a multiply-add as two."""
    return sum(layer.flops for layer in layers_of(spec))


SYNTHETIC_IMAGES = 512
"""Training images of `dataset: synthetic`, where `train_subset` does not say."""


def training_images(spec: TrialSpec) -> int | None:
    """Number of images in an epoch; None where only the data tells."""
    if spec.train_subset:
        return spec.train_subset
    return SYNTHETIC_IMAGES if spec.dataset == "synthetic" else TRAIN_IMAGES.get(spec.dataset)


def training_flops(spec: TrialSpec) -> float:
    """Operations of the whole training, roughly: the backward pass as two forward passes (as one
    where the weights are frozen and only their inputs' gradients are needed, as none in front of
    the first layer that trains)."""
    layers = layers_of(spec)
    start = first_trained(spec, layers)
    behind = sum(layer.flops for layer in layers[start:])
    every_weight = spec.trainable in ("all", "all_but_bn", "random_k")
    step = flops_per_image(spec) + behind * (2 if every_weight else 1)
    return float(step) * (training_images(spec) or 0) * spec.epochs


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Optimizer updates in an epoch: the last, short batch is kept."""
    return -(-images // batch_size)


def optimizer_slots(spec: TrialSpec) -> int:
    """Numbers the optimizer keeps for each trained parameter."""
    if spec.optimizer == "sgd":
        return 1 if spec.momentum else 0
    return 2


@lru_cache(maxsize=4096)
def checkpoint_bytes(spec: TrialSpec) -> int:
    """Size of a checkpoint: what trains, its optimizer state and the running statistics."""
    found = counts(spec)
    return _FP32 * (found.trainable * (1 + optimizer_slots(spec)) + found.bn)


@lru_cache(maxsize=4096)
def memory_bytes(spec: TrialSpec) -> int:
    """Peak of the tensors alive in a training step: weights, running statistics, gradients,
    optimizer state, activations of one batch.

    Counted is what autograd keeps for the backward pass (each BatchNorm's input, each ReLU's
    output, from the first layer that trains), and the working buffers of the layer at the peak.
    Workspaces of kernels, the device's context and the data set are not counted.
    """
    layers, found = layers_of(spec), counts(spec)
    state = found.total + found.bn + found.trainable * optimizer_slots(spec)
    cast = _BF16 * (found.total - found.bn) if spec.precision == "bf16" else 0
    return _FP32 * state + cast + spec.batch_size * _activation_bytes(spec, layers)


def _activation_bytes(spec: TrialSpec, layers: tuple[Layer, ...]) -> int:
    """For one image: the most that is kept and worked on at once."""
    width = _BF16 if spec.precision == "bf16" else _FP32
    start = first_trained(spec, layers)
    kept = 0
    peak = 0
    for index, layer in enumerate(layers):
        kept += _kept_elements(layer) if index >= start else 0
        peak = max(peak, kept + 2 * layer.map_elements)
    image = _FP32 * 3 * layers[0].size ** 2
    return image + width * peak


def _kept_elements(layer: Layer) -> int:
    if layer.kind == "conv":
        return layer.map_elements if layer.feeds_norm else 0
    if layer.kind == "norm":
        return layer.map_elements if layer.relu else 0
    return layer.map_elements


def first_trained(spec: TrialSpec, layers: tuple[Layer, ...]) -> int:
    """Index of the first layer that trains, from which the backward pass needs activations."""
    mode = spec.trainable
    if mode == "nothing":
        return len(layers)
    if mode == "output_only":
        return len(layers) - 1
    if mode in ("shortcut_only", "shortcut_output"):
        return next((i for i, layer in enumerate(layers) if layer.shortcut), len(layers) - 1)
    return 0
