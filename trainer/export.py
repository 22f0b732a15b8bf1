"""A trained network whole, for plain PyTorch.

A trial keeps only what training changed. Here the frozen rest is built again from the seed, and
the result must have the digest that the trial recorded at its end. What is written is a state dict
with torchvision's names, `num_batches_tracked` put back; docs/export.md shows how to load it.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import torch
from torch import Tensor

from trainer import extend, files, results
from trainer.errors import DataError
from trainer.files import write_atomically
from trainer.learner import Learner
from trainer.results import ARTIFACTS, FINAL_TENSORS, RESULT, Result
from trainer.weights import initial_copy
from trainer.weights.initial import InitialNetwork


def export(
    folder: Path, file: Path, pretrained: Path | None = None, code: Path | None = None
) -> dict[str, Tensor]:
    """Write the network of the finished attempt in `folder` to `file`; returns the state dict.

    `pretrained` is the weights file of a trial that began with one, `code` the own code of a trial
    that names some. Raises DataError where the
    trial is not finished, its files are damaged, or its frozen weights cannot be built again.
    """
    result = _result(folder)
    final = _load(folder / ARTIFACTS / FINAL_TENSORS)
    extend.use(code, result.spec.code_sha256)
    network = _initial(result, folder, pretrained)
    learner = Learner(result.spec, torch.device("cpu"), network=network)
    targets = dict(learner.model.named_parameters()) | dict(learner.model.named_buffers())
    if unknown := sorted(final.keys() - targets.keys()):
        raise DataError(f"{folder}: {FINAL_TENSORS} has {unknown[0]}, which this network lacks")
    with torch.no_grad():
        for name, tensor in final.items():
            targets[name].copy_(tensor)
    if learner.final_digest() != result.digests["final"]:
        raise DataError(
            f"{folder}: the network built again is not the one that was trained (its digest "
            "differs); export on a machine like the one that trained it"
        )
    state = _plain(learner.model.state_dict(), result.history[-1].step)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(file, buffer.getvalue())
    return state


def _initial(result: Result, folder: Path, pretrained: Path | None) -> InitialNetwork:
    try:
        return initial_copy.rebuild(result.spec, result.digests["initial"], folder, pretrained)
    except ValueError as error:
        raise DataError(f"{folder}: {error}") from error


def _plain(state: dict[str, Tensor], steps: int) -> dict[str, Tensor]:
    """As torch's own modules name and lay out their tensors, counters of batches included."""
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        plain[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
        if name.endswith("running_var"):
            plain[name.removesuffix("running_var") + "num_batches_tracked"] = torch.tensor(steps)
    return plain


def _result(folder: Path) -> Result:
    path = folder / RESULT
    try:
        return results.parse(files.read(path))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: no finished trial lies here (no {RESULT})") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a result") from error


def _load(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"{path}: is missing or damaged") from error
    return tensors
