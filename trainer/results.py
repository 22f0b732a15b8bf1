"""What a trial leaves behind: file names inside its folder and the records in them (DESIGN §5).

No torch here. Every file is written to a temporary name, fsynced and renamed, so that a reader
sees the old content or the new, never half of it.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trainer.journal import Record
from trainer.spec import TrialSpec

SPEC = "spec.json"
ATTEMPTS = "attempts"
START = "start.json"
HEARTBEAT = "heartbeat"
JOURNAL = "journal.jsonl"
CHECKPOINT = "checkpoint.pt"
CHECKPOINT_PREVIOUS = "checkpoint.prev.pt"
INITIAL = "initial.pt"
LOG = "log.txt"
ERROR = "error.json"
ARTIFACTS = "artifacts"
RESULT = "result.json"
FREEZE_PROOF = "freeze_proof.json"
FINAL_TENSORS = "final.pt"
PROBES = "probes.npz"
FEATURE_MAPS = "feature_maps.png"

FailureClass = Literal["user", "diverged", "oom", "lost", "io", "code", "stopped"]
"""Why an attempt ended without a result; `stopped`: on request, `lost`: a killed worker or node."""


class _Stored(BaseModel):
    """A record in a file: frozen; keys of a newer version are ignored, not fatal."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants")


class Failure(_Stored):
    """`error.json`: why an attempt ended without a result."""

    failure: FailureClass
    cause: str
    """One line for a person."""
    traceback: str = ""
    host: str = ""
    attempt: int = 1
    epoch: int | None = None
    """The last completed epoch."""
    time_ms: int = 0
    details: dict[str, Any] = Field(default_factory=dict)


class Counts(_Stored):
    """Parameter counts as in the paper's Table 1; `bn` includes the BatchNorm of shortcuts."""

    total: int
    trainable: int
    bn: int
    output: int
    shortcut: int


class Result(_Stored):
    """`result.json`: exists = the trial is finished.

    What a line of `status` needs stands first and the history last: a reader of ten thousand
    results parses the beginning of each file only.
    """

    version: int = 1
    trial_id: str
    config_id: str
    attempt: int
    epochs: int
    seconds: float
    """Training time over all attempts, without what was lost."""
    started_ms: int
    finished_ms: int
    peak_memory_bytes: int
    exact: bool
    """False where a resume went on under other numerics."""
    metrics: dict[str, float]
    """The last epoch's metrics, and the scalars of the probes."""
    counts: Counts
    numerics: dict[str, Any]
    """How it was computed: device, threads, library versions, kernels, packing."""
    digests: dict[str, str]
    """sha256 of: initial, final, data, code."""
    spec: TrialSpec
    history: list[Record]


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: temporary name beside it, fsync, rename, fsync of the folder."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_once(path: Path, data: bytes) -> bool:
    """Write `path` whole, unless it exists: False, also where another process is first."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write_atomically(Path(temporary), data)
        return link_once(Path(temporary), path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def link_once(source: Path, target: Path) -> bool:
    """Give a file a second name; False where the name exists already."""
    try:
        os.link(source, target)
    except FileExistsError:
        if not source.samefile(target):  # over NFS the answer to a link that was made can be lost
            return False
    sync_folder(target.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: BaseModel | dict[str, Any]) -> None:
    """Write `content` as JSON, atomically."""
    write_atomically(path, as_json(content))


def as_json(content: BaseModel | dict[str, Any]) -> bytes:
    """A JSON file's content; its last line ends, so that a file cut short shows."""
    text = (
        content.model_dump_json()
        if isinstance(content, BaseModel)
        else json.dumps(content, indent=1)
    )
    return text.encode() + b"\n"
