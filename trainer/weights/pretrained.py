"""Weights from a file instead of a random start: `weights: pretrained`.

The spec names the file by its content (sha256), so that a trial is the same wherever it lies.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer import files
from trainer.errors import DataError

_SHOWN = 5
"""Names in a message; more are counted."""


def load(model: nn.Module, path: Path, sha256: str, output: frozenset[str] = frozenset()) -> None:
    """Fill `model` from the state dict in `path`: torchvision's, or one that `export` wrote.

    Every parameter and running statistic must be there, by name and shape; batch counters are
    passed over. The parameters named in `output` may have another size and then keep their own
    values, so that a network trained on other classes can be fine-tuned. Nothing of the file is
    executed (`weights_only`). Raises DataError, naming what does not fit.
    """
    given = _read(path, sha256)
    own = model.state_dict()
    _refuse_misfit(own, given, path, output)
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape == given[name].shape:
                tensor.copy_(given[name])


def check(model: nn.Module, path: Path, output: frozenset[str] = frozenset()) -> None:
    """Raise DataError where `load` would: only names and shapes are read, whatever the digest."""
    _refuse_misfit(model.state_dict(), _named_tensors(path, path, "meta"), path, output)


def _refuse_misfit(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path, output: frozenset[str]
) -> None:
    if problem := _misfit(own, given, output):
        raise DataError(f"weights file {path} does not fit this network: {problem}")


def _read(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        content = files.read(path)
    except OSError as error:
        raise DataError(f"weights file {path}: cannot be read ({error.strerror})") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(
            f"weights file {path}: is another file than the trial names "
            f"(its sha256 begins {found[:12]}, the trial's {sha256[:12]})"
        )
    return _named_tensors(path, io.BytesIO(content), "cpu")


def _named_tensors(path: Path, source: Path | io.BytesIO, device: str) -> dict[str, Tensor]:
    try:
        state = torch.load(source, map_location=device, weights_only=True)
    except Exception as error:  # torch's reader says anything of what is no such file
        what = "not a file of plain tensors, as torch.save writes a state dict"
        raise DataError(f"weights file {path}: {what}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]  # as many training scripts save it
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise DataError(f"weights file {path}: not a state dict (names and their tensors)")
    return {str(n): t for n, t in state.items() if not str(n).endswith("num_batches_tracked")}


def _misfit(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], output: frozenset[str]
) -> str | None:
    """What is wrong, in one line; None where `given` fits."""
    problems = []
    if missing := [name for name in own if name not in given]:
        problems.append(f"it lacks {_list(missing)}")
    if unknown := [name for name in given if name not in own]:
        problems.append(f"it has {_list(unknown)}, which the network has not")
    other = [n for n in own if n in given and n not in output and own[n].shape != given[n].shape]
    if other:
        shapes = (f"{n} is {list(given[n].shape)}, not {list(own[n].shape)}" for n in other)
        problems.append(_list(list(shapes)))
    return "; ".join(problems) or None


def _list(names: Iterable[str]) -> str:
    names = list(names)
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
