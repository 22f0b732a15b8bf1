"""Which of a network's layers have a gradient in a freezing mode, in closed form. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from trainer.modes import MODES
from trainer.networks.layers import Layer


def gradient_elements(layer: Layer, mode: str) -> int:
    """How many elements of the layer have a gradient in this freezing mode.

    Those are the ones that train, but for random_k: there whole weights have one.
    """
    return sum(elements for role, elements in layer.parameters if MODES[mode](role))


def all_gradient_elements(layers: Sequence[Layer], mode: str) -> int:
    """The same for a whole network."""
    return sum(times * gradient_elements(layer, mode) for layer, times in Counter(layers).items())


def weight_trains(layer: Layer, mode: str) -> bool:
    """Whether the gradient of a convolution's or linear layer's weight is needed."""
    kinds = ("conv_weight", "linear_weight")
    return any(role.kind in kinds and MODES[mode](role) for role, _ in layer.parameters)


def first_trained(layers: Sequence[Layer], mode: str) -> int:
    """Index of the first layer that trains; their number where none does."""
    trained = (layer for layer in dict.fromkeys(layers) if gradient_elements(layer, mode))
    first = next(trained, None)
    return layers.index(first) if first else len(layers)
