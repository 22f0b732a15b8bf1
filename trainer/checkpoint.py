"""Where training stands, in one small verified file: what trains, and never what is frozen.

A checkpoint is the sha256 of what follows, then a torch file of flat vectors and a header. Random
states are not needed: all randomness is a function of (seed, epoch, index).
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from trainer import files
from trainer.errors import PASSING
from trainer.files import write_atomically
from trainer.journal import Record
from trainer.results import CHECKPOINT, CHECKPOINT_PREVIOUS
from trainer.spec import TrialSpec
from trainer.weights.initial_copy import Rebuilt

VERSION = 1
_log = logging.getLogger(__name__)


class Header(BaseModel):
    """Everything in a checkpoint but the tensors."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants")

    version: int = VERSION
    trial_id: str
    epochs_done: int
    step_in_epoch: int
    """Updates done in the epoch after `epochs_done`: 0 at an epoch's end."""
    step: int
    """Updates done in all."""
    seconds: float
    started_ms: int
    exact: bool
    numerics: dict[str, Any]
    digests: dict[str, str]
    history: list[Record]


class Resume(BaseModel):
    """A verified checkpoint and where it was found.

    Tensors on the CPU: `values` and `statistics` as in trainer.flat, `optimizer` the optimizer's
    buffers, `losses` and `hits` [steps an epoch] of the epoch in progress.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    folder: Path
    header: Header
    values: Tensor
    statistics: Tensor
    optimizer: list[Tensor]
    losses: Tensor
    hits: Tensor
    initial: Rebuilt | None = None
    """The network that the trial began with."""

    @property
    def epoch(self) -> int:
        """Completed epochs."""
        return self.header.epochs_done

    @property
    def step(self) -> int:
        """Updates done in the epoch that was in progress."""
        return self.header.step_in_epoch

    @property
    def history(self) -> list[Record]:
        return self.header.history


def save(
    folder: Path,
    header: Header,
    *,
    values: Tensor,
    statistics: Tensor,
    optimizer: Sequence[Tensor],
    losses: Tensor,
    hits: Tensor,
) -> None:
    """Write `folder`'s checkpoint; the one before stays as `checkpoint.prev.pt`.

    At every moment a complete checkpoint lies under one of the two names.
    """
    tensors = {"values": values, "statistics": statistics, "losses": losses, "hits": hits}
    packed = zlib.compress(header.model_dump_json().encode())
    content = {
        **{name: tensor.detach().cpu().clone() for name, tensor in tensors.items()},
        "optimizer": [buffer.detach().cpu() for buffer in optimizer],
        "header": torch.frombuffer(bytearray(packed), dtype=torch.uint8),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getbuffer()
    digest = hashlib.sha256(payload).hexdigest().encode()
    _keep_previous(folder)
    write_atomically(folder / CHECKPOINT, b"".join((digest, b"\n", payload)))


def _keep_previous(folder: Path) -> None:
    current, spare = folder / CHECKPOINT, folder / f".{CHECKPOINT_PREVIOUS}"
    if current.exists():
        spare.unlink(missing_ok=True)
        os.link(current, spare)
        os.replace(spare, folder / CHECKPOINT_PREVIOUS)


def find(folders: Sequence[Path], spec: TrialSpec, pretrained: Path | None = None) -> Resume | None:
    """The first valid checkpoint of this trial: in each folder the last, then the one before.

    `folders`: newest attempt first. What is damaged or another trial's is passed over with a
    warning in the log; None where nothing is left, and training starts over. Raises OSError where
    a checkpoint may be whole, but cannot be had now: no reason to train its epochs again.
    """
    for folder in folders:
        for name in (CHECKPOINT, CHECKPOINT_PREVIOUS):
            path = folder / name
            if not path.exists():
                continue
            try:
                return load(path, spec, pretrained)
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno in PASSING:
                    raise
                _log.warning("%s cannot be used: %s", path, error)
    return None


def load(path: Path, spec: TrialSpec, pretrained: Path | None = None) -> Resume:
    """Read and verify one checkpoint file. Raises ValueError saying what is wrong, or OSError."""
    digest, _, payload = files.read(path).partition(b"\n")
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        raise ValueError("its content does not have the checksum in its first line")
    try:
        content = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        packed = content.pop("header").numpy().tobytes()
        header = Header.model_validate_json(zlib.decompress(packed))
        resume = Resume(folder=path.parent, header=header, **content)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError("not a file of plain tensors") from error
    except (AttributeError, KeyError, TypeError, zlib.error, ValidationError) as error:
        raise ValueError("not a checkpoint of this version") from error
    if header.trial_id != spec.trial_id:
        raise ValueError(f"it belongs to the trial {header.trial_id}, not {spec.trial_id}")
    network = Rebuilt(spec, header.digests["initial"], path.parent, pretrained)
    return resume.model_copy(update={"initial": network})
