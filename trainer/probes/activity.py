"""Which units and channels of a network's activations are off, and how often each class is right.

A unit is zero on an input on which its activation lets less than 1 % of its own input through: a
ReLU, where it is zero; GELU and SiLU, which never are, below -2.326 and -4.595. Only modules are
seen, not functions such as `torch.relu`. An activation that saturates elsewhere (ELU, tanh) has
no off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.kernels.fused_norm import Norm
from trainer.probes.images import ProbeImages

Arrays = dict[str, NDArray[Any]]

OFF = 0.99
"""A channel or unit is off where it is zero on more than this share of the inputs."""
ZERO_BELOW: dict[type[nn.Module], float] = {nn.GELU: -2.326, nn.SiLU: -4.595}
"""Of its input: there Φ(x) and σ(x), by which these multiply it, are below 1 %."""


class _Zeros:
    """Counts, for every unit of every activation, on how many inputs it is zero; in calling order.

    Our networks' ReLUs are part of `Norm`, where a kernel may compute them; others have modules.
    """

    def __init__(self, model: nn.Module) -> None:
        self.counts: dict[nn.Module, Tensor] = {}
        self._after_linear = False
        self._hooks = []
        for module in model.modules():
            if isinstance(module, Norm | nn.ReLU):
                hook = module.register_forward_hook(self._count_zeros, with_kwargs=True)
            elif isinstance(module, tuple(ZERO_BELOW)):  # its input, since it may work in place
                hook = module.register_forward_pre_hook(self._count_low)
            elif isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                hook = module.register_forward_hook(self._note_layer)
            else:
                continue
            self._hooks.append(hook)

    def _note_layer(self, module: nn.Module, _args: Any, _out: Tensor) -> None:
        self._after_linear = isinstance(module, nn.Linear)

    def _count_zeros(self, module: nn.Module, args: Any, kwargs: Any, out: Tensor) -> None:
        if isinstance(module, nn.ReLU) or kwargs.get("relu") or (len(args) > 2 and args[2]):
            self._add(module, out == 0)

    def _count_low(self, module: nn.Module, args: Any) -> None:
        below = next(low for kind, low in ZERO_BELOW.items() if isinstance(module, kind))
        self._add(module, args[0] < below)

    def _add(self, module: nn.Module, zero: Tensor) -> None:
        if self._after_linear and zero.ndim > 2:  # its channels come last: of tokens, say
            zero = zero.movedim(-1, 1)
        zeros = zero.sum(0, dtype=torch.int32)
        self.counts[module] = self.counts[module] + zeros if module in self.counts else zeros

    def remove(self) -> None:
        """Stop counting."""
        for hook in self._hooks:
            hook.remove()


def observe(model: nn.Module, images: ProbeImages, classes: int) -> Arrays:
    """One pass: zero frequency of each channel and unit in %, accuracy of each class in %.

    Off: zero on more than 99 % of the inputs (a channel: of its inputs and positions).
    """
    zeros = _Zeros(model)
    hits = torch.zeros(2, classes, dtype=torch.float64, device=images.device)
    for batch, labels in images.batches():
        right = images.forward(model, batch).argmax(1) == labels
        hits[0] += torch.bincount(labels, minlength=classes)
        hits[1] += torch.bincount(labels[right], minlength=classes)
    zeros.remove()
    shown, correct = hits.cpu().numpy()
    with np.errstate(invalid="ignore"):  # a class without an image has no accuracy: nan
        arrays: Arrays = {"class_images": shown, "class_accuracy": 100 * correct / shown}
    if zeros.counts:
        arrays |= _relu_arrays(list(zeros.counts.values()), images.count)
    return arrays


def _relu_arrays(counts: list[Tensor], images: int) -> Arrays:
    units = [count.float().div_(images).cpu().numpy() for count in counts]
    channels = [unit.reshape(len(unit), -1).mean(1) for unit in units]
    bins = np.linspace(0, 1, 101)
    return {
        "relu_shapes": np.array([(*unit.shape, 1, 1)[:3] for unit in units]),
        "relu_channel_zero": (100 * np.concatenate(channels)).astype(np.float32),
        "relu_unit_histogram": np.array([np.histogram(unit, bins)[0] for unit in units]),
        "relu_units_off": np.array([100 * (unit > OFF).mean() for unit in units]),
        "relu_channels_off": np.array([100 * (channel > OFF).mean() for channel in channels]),
    }


def scalars(arrays: Arrays) -> dict[str, float]:
    """Shares of units and of channels that are off, in %; none where no activation was seen."""
    if "relu_shapes" not in arrays:
        return {}
    sizes = arrays["relu_shapes"].prod(1)
    zero = arrays["relu_channel_zero"]
    return {
        "trained/relu_units_off": float(np.average(arrays["relu_units_off"], weights=sizes)),
        "trained/relu_channels_off": 100 * float((zero > 100 * OFF).mean()),
    }
