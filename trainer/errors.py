"""What ends a trial without a result. No torch here: the orchestrator classifies by these types."""

from __future__ import annotations

import errno
from typing import Any

PASSING = (errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EMFILE, errno.ENFILE)
"""Errors of a store that a file server which comes back, or another process that ends, mends."""


class TrainerError(Exception):
    """Root. The message is one line for a person: what, where, what to do."""


class SpecError(TrainerError):
    """The spec asks for something that cannot be trained (the user's mistake)."""


class DataError(TrainerError):
    """A data set or a weights file is missing, damaged or does not fit (the user's to mend)."""


class Diverged(TrainerError):
    """The training loss was not finite."""

    def __init__(self, epoch: int, step: int, last_loss: float | None) -> None:
        before = (
            "no finite loss before" if last_loss is None else f"last finite loss {last_loss:.4g}"
        )
        super().__init__(f"loss not finite in epoch {epoch}, step {step} ({before})")
        self.epoch, self.step, self.last_loss = epoch, step, last_loss


class OutOfMemory(TrainerError):
    """The device or the host ran out of memory; `peak_bytes` is the most that was allocated."""

    def __init__(self, message: str, peak_bytes: int = 0) -> None:
        super().__init__(message)
        self.peak_bytes = peak_bytes


class RankLost(TrainerError):
    """One of the processes of a trial ended or hung; the trial can go on from its checkpoint."""


class FreezeViolation(TrainerError):
    """A tensor changed that should not have, or did not change that should have.

    `proof` is what was found, as in `freeze_proof.json`.
    """

    def __init__(self, message: str, proof: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.proof = proof or {}


class Stopped(TrainerError):
    """Training ended on request, at a step boundary, after a checkpoint."""
