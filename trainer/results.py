"""What training leaves in a trial's folder: the names of its files, and the records in them.

No torch here. Files that the store adds of its own are named there. `result.json` begins with the
sha256 of all that follows in it, and whoever reads a result does so here: edited is damaged.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainer import files
from trainer.journal import Record
from trainer.modes import Counts
from trainer.spec import TrialSpec

SPEC = "spec.json"
JOURNAL = "journal.jsonl"
CHECKPOINT = "checkpoint.pt"
CHECKPOINT_PREVIOUS = "checkpoint.prev.pt"
INITIAL = "initial.pt"
ARTIFACTS = "artifacts"
RESULT = "result.json"
FREEZE_PROOF = "freeze_proof.json"
FINAL_TENSORS = "final.pt"
PROBES = "probes.npz"
FEATURE_MAPS = "feature_maps.png"

_CHECKSUM = b'{"checksum":"%s",'
_BEGINNING = len(_CHECKSUM % (b"0" * 64))


class ResultSummary(BaseModel):
    """A result without its history: all that a line of `status` needs.

    Keys of a newer version are ignored, not fatal.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants")

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
    artifacts: dict[str, str] = Field(default_factory=dict)
    """sha256 of each file under `artifacts/`, by its path there; empty in results of before."""


class Result(ResultSummary):
    """`result.json`: exists = the trial is finished.

    The history stays last: a reader of ten thousand results leaves it unparsed.
    """

    spec: TrialSpec
    history: list[Record]

    @model_validator(mode="after")
    def _agrees_with_its_history(self) -> Self:
        if self.history and not _same(self.metrics, self.history[-1].metrics):
            raise ValueError("its metrics are not those of the last epoch in its history")
        return self


def write(path: Path, result: Result) -> None:
    """Write `result.json`, atomically."""
    files.write_atomically(path, content_of(result))


def content_of(result: Result) -> bytes:
    """What `result.json` holds: the checksum, then what it is the checksum of."""
    content = files.as_json(result)[1:]
    return _CHECKSUM % hashlib.sha256(content).hexdigest().encode() + content


def parse(content: bytes) -> Result:
    """The result in a file's content. Raises ValueError where it is damaged or was edited."""
    checked = _check(content)
    result = Result.model_validate_json(content)
    if not checked and "checksum" in json.loads(content):
        raise ValueError("was written anew by something that does not know its checksum")
    return result


def parse_summary(content: bytes) -> ResultSummary:
    """The same without the history, which is most of the content and which the checksum vouches
    for; a result of before it had one is read whole. Raises ValueError as `parse` does."""
    if not _check(content):
        return parse(content)
    head, _, _ = content.partition(b',"history":[')
    return ResultSummary.model_validate_json(head + b"}")


def digests_under(folder: Path) -> dict[str, str]:
    """sha256 of each file in a trial's `artifacts/`, by its path there. Raises OSError."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): files.sha256(path) for path in paths}


def _check(content: bytes) -> bool:
    """Whether the content begins with a checksum. Raises ValueError where it is another's."""
    beginning, rest = content[:_BEGINNING], content[_BEGINNING:]
    if not beginning.startswith(_CHECKSUM[:13]):
        return False
    if beginning != _CHECKSUM % hashlib.sha256(rest).hexdigest().encode():
        raise ValueError("its content is not what its checksum says")
    return True


def same_number(one: float | None, other: float | None) -> bool:
    """Whether two values of a metric are the same, be they no number."""
    both = one is not None and other is not None
    return one == other or (both and math.isnan(one or 0.0) and math.isnan(other or 0.0))


def _same(one: dict[str, float], other: dict[str, float]) -> bool:
    return one.keys() == other.keys() and all(
        same_number(value, other[name]) for name, value in one.items()
    )
