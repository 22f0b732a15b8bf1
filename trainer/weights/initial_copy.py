"""The initial weights of a resumed trial: built again from the seed, or read from a copy.

Checkpoints hold nothing that is frozen. A seed's draws are the same on other thread counts, but no
release of torch promises them, not every CPU gives them, and an orthogonal one goes through LAPACK.
So what is built again must have the digest taken at the start, and where it has another, a copy
serves that is written once for all trials that begin alike.
"""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer import freezing
from trainer.files import write_atomically, write_once
from trainer.freezing import Trained
from trainer.results import INITIAL
from trainer.spec import TrialSpec
from trainer.weights import initial

Weights = dict[str, Tensor]
"""Every parameter by name."""


def source(
    spec: TrialSpec, digest: str, folder: Path, pretrained: Path | None = None
) -> Weights | None:
    """What a resume begins with. None: `models.build` gives it. Else the copy in `folder`.

    `digest` is that of the trial's initial parameters. Raises ValueError where neither has it, and
    DataError where the file of pretrained weights is missing or another one.
    """
    model = initial.build(spec, pretrained)
    if _all_train(model, freezing.freeze(model, spec)) or freezing.snapshot(model).digest == digest:
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


def keep(
    model: nn.Module, trained: Trained, digest: str, folder: Path, shared: Path | None = None
) -> None:
    """Leave `initial.pt` in `folder`, unless all of the network is in its checkpoints anyway.

    `model` still has its initial parameters, of that `digest`. The file is a link to
    `<digest>.pt` in `shared`, made by the first trial that begins with these weights; where there
    can be no link, a copy.
    """
    target = folder / INITIAL
    if target.exists() or _all_train(model, trained):
        return
    if shared is None:
        write_atomically(target, _packed(model))
        return
    copy = shared / f"{digest}.pt"
    if not copy.exists():
        shared.mkdir(exist_ok=True)
        write_once(copy, _packed(model))
    try:
        os.link(copy, target)
    except OSError:  # gc took it as unused just now, or it has as many links as there can be
        write_atomically(target, _packed(model))


def _packed(model: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save({name: p.detach().cpu().clone() for name, p in model.named_parameters()}, buffer)
    return buffer.getvalue()


def _all_train(model: nn.Module, trained: Trained) -> bool:
    return trained.count(model) == sum(p.numel() for p in model.parameters())
