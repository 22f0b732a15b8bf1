"""What training leaves in a trial's folder: the names of its files, and the records in them.

No torch here. Files that the store adds of its own are named there.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

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


class Result(ResultSummary):
    """`result.json`: exists = the trial is finished.

    The history stays last: a reader of ten thousand results leaves it unparsed.
    """

    spec: TrialSpec
    history: list[Record]
