"""The initial weights of a resumed trial: built again from the seed, or read from a copy.

Checkpoints hold nothing that is frozen. Draws are the same on other releases and thread counts,
but not on every CPU, and an orthogonal draw goes through LAPACK. So what is built again must have
the digest taken at the start; where that is not to be relied on, an attempt keeps a copy.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer import freezing, models
from trainer.results import INITIAL, write_atomically
from trainer.spec import TrialSpec

UNSTABLE = ("orthogonal",)
"""Initialisations whose bits depend on more than the seed and the kind of CPU."""

Weights = dict[str, Tensor]
"""Every parameter by name."""


def source(
    spec: TrialSpec, digest: str, folder: Path, pretrained: Path | None = None
) -> Weights | None:
    """What a resume begins with. None: `models.build` gives it. Else the copy in `folder`.

    `digest` is that of the trial's initial parameters. Raises ValueError where neither has it, and
    DataError where the file of pretrained weights is missing or another one.
    """
    model = models.build(spec, pretrained)
    if _all_train(model, spec) or freezing.snapshot(model).digest == digest:
        return None
    try:
        weights: Weights = torch.load(folder / INITIAL, map_location="cpu", weights_only=True)
        place(model, weights)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(
            "this machine does not give the trial's initial weights again, and there is "
            f"no readable copy of them in {INITIAL}"
        ) from error
    if freezing.snapshot(model).digest != digest:
        raise ValueError(f"{INITIAL} does not hold the weights that the trial began with")
    return weights


def place(model: nn.Module, weights: Weights) -> None:
    """Overwrite all parameters. Raises RuntimeError where names or shapes differ."""
    parameters = dict(model.named_parameters())
    if parameters.keys() != weights.keys():
        raise RuntimeError("not the weights of this network")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def keep(spec: TrialSpec, model: nn.Module, folder: Path, *, from_copy: bool) -> None:
    """Write a copy where a later attempt may need one and none is there."""
    needed = from_copy or (spec.init in UNSTABLE and not _all_train(model, spec))
    if needed and not (folder / INITIAL).exists():
        buffer = io.BytesIO()
        torch.save({name: p.detach().cpu().clone() for name, p in model.named_parameters()}, buffer)
        write_atomically(folder / INITIAL, buffer.getvalue())


def _all_train(model: nn.Module, spec: TrialSpec) -> bool:
    trained = freezing.freeze(model, spec)
    return trained.count(model) == sum(p.numel() for p in model.parameters())
