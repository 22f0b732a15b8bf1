"""Which of a network's layers have a gradient in a freezing mode, in closed form. No torch."""

from __future__ import annotations

from collections import Counter

from trainer.modes import MODES
from trainer.networks.descriptions import Layers
from trainer.networks.layers import Layer


def gradient_elements(layer: Layer, mode: str) -> int:
    """How many elements of the layer have a gradient in this freezing mode.

    Those are the ones that train, but for random_k: there whole weights have one.
    """
    return sum(elements for role, elements in layer.parameters if MODES[mode](role))


def totals(layers: Layers) -> Counter[Layer]:
    """Each layer with how often it comes in all, in the order in which they begin."""
    counted: Counter[Layer] = Counter()
    for layer, times in layers:
        counted[layer] += times
    return counted


def all_gradient_elements(layers: Layers, mode: str) -> int:
    """The same for a whole network."""
    return sum(times * gradient_elements(layer, mode) for layer, times in totals(layers).items())


def weight_trains(layer: Layer, mode: str) -> bool:
    """Whether the gradient of a convolution's or linear layer's weight is needed."""
    kinds = ("conv_weight", "linear_weight")
    return any(role.kind in kinds and MODES[mode](role) for role, _ in layer.parameters)


def first_trained(layers: Layers, mode: str) -> int:
    """Index of the first layer that trains; their number where none does."""
    trained = (index for index, (layer, _) in enumerate(layers) if gradient_elements(layer, mode))
    return next(trained, len(layers))
