"""Initial weights, from the trial's own generator (paper, section "Initialisation").

Drawn on the CPU in fp32 into contiguous tensors, in the order of `model.modules()`: one seed gives
the same network on every device and in every freezing mode. (Drawing into a channels-last tensor,
or orthogonal with another number of threads, would give other values: measured.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trainer import seeding
from trainer.networks.roles import norm_of
from trainer.spec import TrialSpec


def initialise(model: nn.Module, spec: TrialSpec) -> None:
    """Fill every parameter and buffer of `model`.

    A module without a rule here is our own bug in a network of ours; in a user's own or a library's
    (`spec.own`) it keeps what its constructor drew.
    """
    draw = seeding.generator(spec.seed, "init")
    with torch.no_grad(), _one_thread():
        for module in model.modules():
            if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
                _weight(module.weight, spec.init, draw)
                if module.bias is not None:
                    _bias(module.bias, module.weight, spec.init, draw)
            elif norm_of(module):
                _norm(module, spec.bn_init, draw)
            elif not spec.own:
                assert not {*module._parameters, *module._buffers}, type(module)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _weight(weight: Tensor, init: str, draw: torch.Generator) -> None:
    match init:
        case "kaiming_normal":
            nn.init.kaiming_normal_(weight, generator=draw)
        case "kaiming_uniform":
            nn.init.kaiming_uniform_(weight, generator=draw)
        case "binary":
            nn.init.kaiming_normal_(weight, generator=draw)
            weight.copy_(weight.sign() * weight.std())
        case "orthogonal":
            nn.init.orthogonal_(weight, generator=draw)
        case "glorot_uniform":
            nn.init.xavier_uniform_(weight, generator=draw)
        case _:
            raise AssertionError(init)


def _bias(bias: Tensor, weight: Tensor, init: str, draw: torch.Generator) -> None:
    """PyTorch's default, uniform within 1/sqrt(fan_in); with Glorot's weights Keras's, zero."""
    if init == "glorot_uniform":
        bias.zero_()
        return
    bound = 1 / math.sqrt(weight[0].numel())
    nn.init.uniform_(bias, -bound, bound, generator=draw)


def _norm(module: Any, bn_init: str, draw: torch.Generator) -> None:
    if getattr(module, "running_mean", None) is not None:
        module.running_mean.zero_()
        module.running_var.fill_(1)
    gamma, beta = module.weight, getattr(module, "bias", None)
    if gamma is None:
        return
    match bn_init:
        case "uniform":
            gamma.uniform_(0, 1, generator=draw)
        case "positivenegative":
            gamma.uniform_(-1, 1, generator=draw)
        case "fixed" | "oneone":
            gamma.fill_(1)
        case _:
            raise AssertionError(bn_init)
    if beta is not None:
        beta.fill_(1 if bn_init == "oneone" else 0)
