"""A trial's network with its initial weights: drawn from the seed, or pretrained from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from trainer import freezing, seeding
from trainer.errors import DataError
from trainer.freezing import Snapshot, Trained
from trainer.networks.descriptions import NETWORKS
from trainer.networks.roles import roles_of
from trainer.spec import TrialSpec, network_of
from trainer.weights import other_libraries, own_network, pretrained, random_init


@dataclass(frozen=True)
class InitialNetwork:
    """A network before its first step."""

    model: nn.Module
    """On the CPU; `requires_grad` is set for the spec's mode."""
    trained: Trained
    snapshot: Snapshot
    """Digests of the initial parameters."""


def prepare(spec: TrialSpec, weights: Path | None = None) -> InitialNetwork:
    """Build the spec's network, freeze what does not train, and take the digests; see `build`."""
    model = build(spec, weights)
    trained = freezing.freeze(model, spec)
    return InitialNetwork(model, trained, freezing.snapshot(model, trained))


def build(spec: TrialSpec, weights: Path | None = None) -> nn.Module:
    """The spec's network: on the CPU, fp32, contiguous, initialised from the seed alone.

    The freezing mode has no part in it: the modes of one seed begin with the same weights.
    `weights`: the file that a spec with `weights: pretrained` names by its sha256; an output layer
    for other classes keeps its initial values. Raises DataError where it is missing or misfits.
    """
    model = _constructed(spec)
    random_init.initialise(model, spec)
    if spec.weights == "pretrained":
        if weights is None:
            raise DataError(f"weights: no file given for sha256 {spec.weights_sha256[:12]}…")
        pretrained.load(model, weights, spec.weights_sha256, _output(model))
    return model


def check_weights(spec: TrialSpec, weights: Path) -> None:
    """Raise DataError where the file does not fit the spec's network, by name or shape."""
    model = _constructed(spec)
    pretrained.check(model, weights, _output(model))


def _output(model: nn.Module) -> frozenset[str]:
    """The parameters of the output layer, by name."""
    return frozenset(name for name, role in roles_of(model).items() if role.place == "output")


def _constructed(spec: TrialSpec) -> nn.Module:
    """The network without its numbers; one that is not ours with what its constructor draws."""
    if "/" in spec.model:
        build = other_libraries.build
    elif not NETWORKS[spec.model].own:
        with torch.device("meta"):
            model: nn.Module = NETWORKS[spec.model].build(network_of(spec))
        return model.to_empty(device="cpu")
    else:
        build = own_network.build
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.number(spec.seed, "init"))
        return build(spec)
