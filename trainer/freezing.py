"""Which parameters train, chosen by role, and the proof that no other changed (DESIGN §8)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainer import models, seeding
from trainer.errors import FreezeViolation
from trainer.models import Role
from trainer.spec import TrialSpec

_MODES: dict[str, Callable[[Role], bool]] = {
    "all": lambda _: True,
    "bn_only": lambda role: role.bn,
    "output_only": lambda role: role.place == "output",
    "bn_output": lambda role: role.bn or role.place == "output",
    "shortcut_only": lambda role: _shortcut(role),
    "shortcut_output": lambda role: _shortcut(role) or role.place == "output",
    "bn_shortcut_output": lambda role: role.bn or _shortcut(role) or role.place == "output",
    "all_but_bn": lambda role: not role.bn,
    "random_k": lambda role: role.kind == "conv_weight",
    "gamma_only": lambda role: role.kind == "gamma",
    "beta_only": lambda role: role.kind == "beta",
    "bias_only": lambda role: role.kind in ("bias", "beta"),
    "nothing": lambda _: False,
}


def _shortcut(role: Role) -> bool:
    return role.place == "shortcut" and not role.bn


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


def freeze(model: nn.Module, spec: TrialSpec) -> Trained:
    """Set `requires_grad` for the spec's mode, and say what trains."""
    chosen = _MODES[spec.trainable]
    names = []
    for name, role in models.roles(model).items():
        parameter = model.get_parameter(name)
        parameter.requires_grad_(chosen(role))
        if chosen(role):
            names.append(name)
    if spec.trainable != "random_k":
        return Trained(tuple(names))
    draw = seeding.generator(spec.seed, "random_k")
    return Trained(
        tuple(names), {n: _random_k(model.get_parameter(n), spec.k, draw) for n in names}
    )


def _random_k(weight: Tensor, k: int, draw: torch.Generator) -> Tensor:
    """Flat indices of k elements of each output channel (all of them where it has fewer)."""
    channels, size = weight.shape[0], weight[0].numel()
    chosen = torch.rand(channels, size, generator=draw).topk(min(k, size), dim=1).indices
    return (chosen + size * torch.arange(channels)[:, None]).flatten().sort().values


def snapshot(model: nn.Module, trained: Trained | None = None) -> Snapshot:
    """Digests of all parameters as they are now."""
    each, rest = {}, {}
    for name, parameter in model.named_parameters():
        values = parameter.detach().cpu().contiguous().flatten()
        each[name] = _sha256(values)
        if trained and name in trained.indices:
            keep = torch.ones(len(values), dtype=torch.bool)
            keep[trained.indices[name]] = False
            rest[name] = _sha256(values[keep])
    together = "".join(f"{name}:{digest}\n" for name, digest in sorted(each.items()))
    return Snapshot(hashlib.sha256(together.encode()).hexdigest(), each, rest)


def _sha256(values: Tensor) -> str:
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()


def prove(before: Snapshot, model: nn.Module, trained: Trained) -> dict[str, Any]:
    """Compare the network with `before`; the content of `freeze_proof.json`.

    Raises FreezeViolation where a frozen tensor or a frozen element changed. That a trained
    tensor did not change is recorded, not an error: a zero gradient is possible.
    """
    after = snapshot(model, trained)
    changed = [name for name in after.each if after.each[name] != before.each[name]]
    violations = [name for name in changed if name not in trained.names]
    violations += [f"{n} (frozen elements)" for n in after.rest if after.rest[n] != before.rest[n]]
    proof = {
        "declared": list(trained.names),
        "changed": changed,
        "unchanged_though_trained": [n for n in trained.names if n not in changed],
        "violations": violations,
        "initial": before.each,
        "final": after.each,
    }
    if violations:
        raise FreezeViolation(f"frozen, but changed: {', '.join(violations)}")
    return proof
