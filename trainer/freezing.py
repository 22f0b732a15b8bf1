"""Which parameters train, chosen by role, and the proof that no other changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from trainer import seeding
from trainer.errors import FreezeViolation
from trainer.modes import MODES, RANDOM_K
from trainer.networks import roles
from trainer.spec import TrialSpec


@dataclass(frozen=True)
class Trained:
    """What trains: whole parameters, or for random_k some elements of each."""

    names: tuple[str, ...]
    """In the order of `model.named_parameters()`."""
    indices: dict[str, Tensor] = field(default_factory=dict)
    """For a partly trained parameter: the flat, sorted indices (int64) of the trained elements."""

    def count(self, model: nn.Module) -> int:
        """Trained elements."""
        return sum(
            len(self.indices[n]) if n in self.indices else model.get_parameter(n).numel()
            for n in self.names
        )


@dataclass(frozen=True)
class Snapshot:
    """Digests (sha256, hex) of a network's parameters at one moment."""

    digest: str
    """Of all of them together."""
    each: dict[str, str]
    rest: dict[str, str]
    """For partly trained parameters: of the frozen elements alone."""
    chosen: dict[str, Tensor]
    """For partly trained parameters: the values of the trained elements."""


def freeze(model: nn.Module, spec: TrialSpec) -> Trained:
    """Set `requires_grad` for the spec's mode, and say what trains."""
    chosen = MODES[spec.trainable]
    names = []
    for name, role in roles.roles_of(model).items():
        parameter = model.get_parameter(name)
        parameter.requires_grad_(chosen(role))
        if chosen(role):
            names.append(name)
    if spec.trainable != RANDOM_K:
        return Trained(tuple(names))
    draw = seeding.generator(spec.seed, "random_k")
    return Trained(
        tuple(names), {n: _random_k(model.get_parameter(n), spec.k, draw) for n in names}
    )


def _random_k(weight: Tensor, k: int, draw: torch.Generator) -> Tensor:
    """Flat, sorted indices of k elements of each output channel (the spec allows no more).

    Drawn in double precision: among 24-bit numbers a wide channel has ties, and which of them
    `topk` takes is not promised.
    """
    channels, size = weight.shape[0], weight[0].numel()
    draws = torch.rand(channels, size, generator=draw, dtype=torch.float64)
    chosen = draws.topk(k, dim=1).indices
    return (chosen + size * torch.arange(channels)[:, None]).flatten().sort().values


def snapshot(model: nn.Module, trained: Trained | None = None) -> Snapshot:
    """Digests of all parameters as they are now."""
    each, rest, chosen = {}, {}, {}
    for name, parameter in model.named_parameters():
        values = parameter.detach().cpu().contiguous().flatten()
        each[name] = _sha256(values)
        if trained and name in trained.indices:
            frozen = torch.ones(len(values), dtype=torch.bool)
            frozen[trained.indices[name]] = False
            rest[name] = _sha256(values[frozen])
            chosen[name] = values[trained.indices[name]]
    together = "".join(f"{name}:{digest}\n" for name, digest in sorted(each.items()))
    return Snapshot(hashlib.sha256(together.encode()).hexdigest(), each, rest, chosen)


def _sha256(values: Tensor) -> str:
    return hashlib.sha256(values.numpy().data).hexdigest()


def prove(
    before: Snapshot,
    model: nn.Module,
    trained: Trained,
    batch: Callable[[], tuple[Tensor, Tensor]] | None = None,
    rate: float = 0.0,
) -> dict[str, Any]:
    """Compare the network with `before`; the content of `freeze_proof.json`.

    `batch` gives training images and labels on the model's device, `rate` is the highest learning
    rate of any update; without them (no update was made) nothing needs to have moved.

    Raises FreezeViolation where a frozen tensor or a frozen element changed, and where a tensor
    that should train is what it was although a step at `rate` would move it. One that no step
    moves is recorded as `stuck`: behind a dead ReLU or a γ of zero the gradient is zero, and a
    minute rate is lost in rounding. Single elements of random_k may stay where they are for the
    same reasons; they are counted.
    """
    after = snapshot(model, trained)
    changed = [name for name in after.each if after.each[name] != before.each[name]]
    touched = [name for name in changed if name not in trained.names]
    touched += [f"{n} (frozen elements)" for n in after.rest if after.rest[n] != before.rest[n]]
    unchanged = [name for name in trained.names if name not in changed]
    movable = _movable(model, trained, unchanged, batch, rate) if unchanged and batch else []
    violations = _accusations(touched, movable)
    proof = {
        "declared": list(trained.names),
        "changed": changed,
        "stuck": unchanged,
        "stuck_elements": _stuck_elements(before, after),
        "violations": violations,
        "initial": before.each,
        "final": after.each,
    }
    if violations:
        raise FreezeViolation("; ".join(violations), proof)
    return proof


def _accusations(touched: list[str], movable: list[str]) -> list[str]:
    found = [f"frozen, but changed: {', '.join(touched)}"] if touched else []
    return found + ([f"should train, but did not change: {', '.join(movable)}"] if movable else [])


def _stuck_elements(before: Snapshot, after: Snapshot) -> dict[str, int]:
    """How many trained elements of partly trained parameters are what they were."""
    equal = {name: before.chosen[name] == after.chosen[name] for name in after.chosen}
    return {name: int(same.sum()) for name, same in equal.items() if same.any()}


def _movable(
    model: nn.Module,
    trained: Trained,
    names: list[str],
    batch: Callable[[], tuple[Tensor, Tensor]],
    rate: float,
) -> list[str]:
    """Which of the parameters a gradient step at `rate` would change."""
    images, labels = batch()
    parameters = [model.get_parameter(name) for name in names]
    if frozen := [n for n, p in zip(names, parameters, strict=True) if not p.requires_grad]:
        return frozen  # declared, yet excluded from training
    mode = model.training
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.enable_grad():  # on a copy of the running statistics, which a forward pass moves
        logits = functional_call(model.train(), statistics, (images,))
        gradients = torch.autograd.grad(F.cross_entropy(logits.float(), labels), parameters)
    model.train(mode)
    moves = {
        name: (parameter - rate * gradient != parameter).flatten().cpu()
        for name, parameter, gradient in zip(names, parameters, gradients, strict=True)
    }
    return [n for n in names if moves[n][trained.indices.get(n, slice(None))].any()]
