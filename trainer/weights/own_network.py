"""Networks that are not ours: what every one of them must be, and how it is made so."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.networks.blocks import mark
from trainer.networks.descriptions import NETWORKS
from trainer.own_code import CodeProblem
from trainer.spec import TrialSpec, classes_of, network_of


def build(spec: TrialSpec) -> nn.Module:
    """The network that a user's code defines as `spec.model`."""
    return checked(NETWORKS[spec.model].build(network_of(spec)), spec)


def checked(model: nn.Module, spec: TrialSpec) -> nn.Module:
    """The network on the CPU in fp32, its output layer marked, its BatchNorms as the spec says.

    Raises CodeProblem where it is no network that can be trained here.
    """
    if not isinstance(model, nn.Module):
        raise CodeProblem(f"network {spec.model}: gives a {type(model).__name__}, not an nn.Module")
    if not any(True for _ in model.parameters()):
        raise CodeProblem(f"network {spec.model}: has no parameters")
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            raise CodeProblem(
                f"network {spec.model}: {name} is {parameter.dtype} on {parameter.device}; "
                "build it in fp32 on the CPU"
            )
    if not any(getattr(module, "place", "") == "output" for module in model.modules()):
        mark(_last_linear(model, spec), "output")
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            _set_batch_norm(module, spec)
    return model


def _last_linear(model: nn.Module, spec: TrialSpec) -> nn.Module:
    classes = classes_of(spec)
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
    if not layers:
        raise CodeProblem(
            f"network {spec.model}: no output layer: make it with trainer.extend.output, or end "
            f"with an nn.Linear of {classes} outputs"
        )
    return layers[-1]


def _set_batch_norm(module: _BatchNorm, spec: TrialSpec) -> None:
    """Where the spec says something of its own; else as the network was made."""
    defaults = TrialSpec.model_fields
    if spec.bn_eps != defaults["bn_eps"].default:
        module.eps = spec.bn_eps
    if spec.bn_momentum != defaults["bn_momentum"].default:
        module.momentum = spec.bn_momentum
