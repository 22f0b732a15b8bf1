"""The initial weights of a resumed trial: built again from the seed, or read from a copy.

Checkpoints hold nothing that is frozen. A seed's draws are the same on other thread counts, but no
release of torch promises them, not every CPU gives them, and an orthogonal one goes through LAPACK.
So what is built again must have the digest taken at the start, and where it has another, a copy
serves that is written once for all trials that begin alike.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer import freezing
from trainer.files import write_atomically, write_once
from trainer.freezing import Trained
from trainer.results import INITIAL
from trainer.spec import TrialSpec
from trainer.weights import initial
from trainer.weights.initial import InitialNetwork

Weights = dict[str, Tensor]
"""Every parameter by name."""


def rebuild(
    spec: TrialSpec, digest: str, folder: Path, pretrained: Path | None = None
) -> InitialNetwork:
    """The network that a trial began with: built from its seed, or with the copy in `folder`.

    `digest` is that of the trial's initial parameters. Raises ValueError where neither has it, and
    DataError where the file of pretrained weights is missing or another one. Where all of the
    network trains, its checkpoints hold all of it, and nothing is compared.
    """
    network = initial.prepare(spec, pretrained)
    if _all_train(network.model, network.trained) or network.snapshot.digest == digest:
        return network
    try:
        weights: Weights = torch.load(folder / INITIAL, map_location="cpu", weights_only=True)
        place(network.model, weights)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(
            "this machine does not give the trial's initial weights again, and there is "
            f"no readable copy of them in {INITIAL}"
        ) from error
    snapshot = freezing.snapshot(network.model, network.trained)
    if snapshot.digest != digest:
        raise ValueError(f"{INITIAL} does not hold the weights that the trial began with")
    return replace(network, snapshot=snapshot)


class Rebuilt:
    """The network that `rebuild` gives, built and verified at once, and handed out once.

    Training changes the network that was taken; whoever takes again gets one that is built anew.
    Raises what `rebuild` raises.
    """

    def __init__(
        self, spec: TrialSpec, digest: str, folder: Path, pretrained: Path | None = None
    ) -> None:
        self._build = functools.partial(rebuild, spec, digest, folder, pretrained)
        self._network: InitialNetwork | None = self._build()

    def take(self) -> InitialNetwork:
        """A network of the caller's own."""
        network, self._network = self._network, None
        return network or self._build()


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
