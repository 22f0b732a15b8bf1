"""Failure classes and what follows from each: decided here and nowhere else.

| class    | what it is                          | is it tried again?                        |
|----------|-------------------------------------|-------------------------------------------|
| user     | the spec or the data cannot be used | no                                        |
| diverged | the loss was not finite             | no, unless the trial is named             |
| oom      | out of memory                       | once, with nothing beside it              |
| lost     | the worker, its node or a rank died | while it makes progress, up to a bound    |
| io       | the store could not be written      | `retries` times, after a pause            |
| code     | any other error                     | no; the same traceback twice holds back   |
|          |                                     | the trials that are like those            |
| stopped  | on request                          | by the next launch                        |
| moved    | its machine is about to go away     | at once, on another                       |
"""

from __future__ import annotations

import errno
import socket
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trainer import errors
from trainer.spec import TrialSpec

FailureClass = Literal["user", "diverged", "oom", "lost", "io", "code", "stopped", "moved"]
LOST_WITHOUT_PROGRESS = 3
"""So many lost attempts in a row without a new epoch fail the trial: it may kill its worker."""
LOST_IN_ALL = 100
IO_PAUSE_S = 1.0
"""The first pause before a store that failed is tried again is twice this, then it doubles."""
TRACEBACK_CHARACTERS = 16_000
NOT_AGAIN: tuple[FailureClass, ...] = ("diverged",)
"""Failures that a new launch does not repeat unless the trial is named. The user's own mistakes
(missing data, say) are tried again: they may have been mended."""
SAME_TRACEBACK = 2
"""So many trials with the same traceback hold back the trials that are like them."""

_IO_ERRNOS = {
    errno.EIO,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    *errors.PASSING,
}


_NO_MEMORY = ("Cannot allocate memory", "failed to map segment", "std::bad_alloc")
"""What errors say that are of many types: a library that cannot be loaded, say."""


class MachineLeaves(Exception):
    """A trial ended after its step, for its machine is about to go away: Ray drains the node."""

    def __init__(self) -> None:
        super().__init__(f"{socket.gethostname()} is being drained: the trial moves on")


class Failure(BaseModel):
    """`error.json`: why an attempt ended without a result."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants")

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


def classify(error: BaseException, *, attempt: int, epoch: int | None) -> Failure:
    """The record of an attempt that ended with `error`. `epoch`: the last completed one."""
    kind, details = _class_of(error)
    cause = " ".join(str(error).split()) or type(error).__name__
    if kind == "code":
        cause = f"{type(error).__name__}: {cause}"
    return Failure(
        failure=kind,
        cause=cause[:500],
        traceback="".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:],
        host=socket.gethostname(),
        attempt=attempt,
        epoch=epoch,
        time_ms=time.time_ns() // 1_000_000,
        details=details,
    )


def _class_of(error: BaseException) -> tuple[FailureClass, dict[str, Any]]:
    match error:
        case errors.SpecError() | errors.DataError():
            return "user", {}
        case errors.Diverged():
            return "diverged", {"epoch": error.epoch, "step": error.step, "last": error.last_loss}
        case errors.OutOfMemory():
            return "oom", {"peak_bytes": error.peak_bytes}
        case _ if isinstance(error, MemoryError) or any(s in str(error) for s in _NO_MEMORY):
            return "oom", {}
        case errors.RankLost():
            return "lost", {}
        case errors.Stopped() | KeyboardInterrupt():
            return "stopped", {}
        case MachineLeaves():
            return "moved", {}
        case OSError() if error.errno in _IO_ERRNOS:
            return "io", {"errno": errno.errorcode.get(error.errno or 0, "")}
    return "code", {"signature": signature(error)}


def signature(error: BaseException) -> str:
    """What makes two errors the same: type and the functions on the way, without the values."""
    frames = traceback.extract_tb(error.__traceback__)
    return " > ".join([type(error).__name__, *(f"{f.name}:{f.lineno}" for f in frames)])


@dataclass(frozen=True)
class Decision:
    """What a launch does with an unfinished trial: run it (alone, after a pause) or give up."""

    run: bool
    reason: str = ""
    alone: bool = False
    pause_s: float = 0.0


def decide(failed: Sequence[Failure], retries: int) -> Decision:
    """Whether a trial runs again, from how its attempts in this launch failed, oldest first."""
    if not failed:
        return Decision(run=True)
    last = failed[-1]
    match last.failure:
        case "stopped":
            return Decision(run=False, reason="stopped on request")
        case "moved":
            return Decision(run=True)
        case "lost":
            return _decide_lost(failed)
        case "io":
            count = sum(f.failure == "io" for f in failed)
            if count <= retries:
                return Decision(run=True, pause_s=min(60.0, IO_PAUSE_S * 2**count))
        case "oom" if last.details.get("beside"):
            return Decision(run=True, alone=True, reason="out of memory beside others: now alone")
    return Decision(run=False, reason=last.cause)


def _decide_lost(failed: Sequence[Failure]) -> Decision:
    lost = [f for f in failed if f.failure == "lost"]
    recent = lost[-LOST_WITHOUT_PROGRESS:]
    stuck = len(recent) == LOST_WITHOUT_PROGRESS and len({f.epoch for f in recent}) == 1
    if stuck or len(lost) > LOST_IN_ALL:
        return Decision(
            run=False,
            reason=f"its worker died {len(lost)} times, {len(recent)} in a row with no new epoch "
            "(out of host memory? see `bnsweep logs`)",
        )
    return Decision(run=True)


def held_back(
    failed: Sequence[tuple[TrialSpec, Failure]],
    finished: Sequence[TrialSpec],
    waiting: Sequence[TrialSpec],
) -> dict[str, str]:
    """Trial ids among `waiting` that are like those that failed with one traceback, and why.

    Like: equal to them in every field in which they agree, the seed left out; unless a trial that
    finished is like them too, for then what they share is not what is wrong.
    """
    by_signature: dict[str, list[tuple[TrialSpec, Failure]]] = {}
    for spec, failure in failed:
        if failure.failure == "code":
            key = str(failure.details.get("signature", failure.cause))
            by_signature.setdefault(key, []).append((spec, failure))
    held: dict[str, str] = {}
    for group in by_signature.values():
        if len({spec.trial_id for spec, _ in group}) < SAME_TRACEBACK:
            continue
        shared = _in_common([spec for spec, _ in group])
        if any(_matches(spec, shared) for spec in finished):
            continue
        why = f"held back: {len(group)} trials like it failed the same way ({group[0][1].cause})"
        held.update({spec.trial_id: why for spec in waiting if _matches(spec, shared)})
    return held


def _in_common(specs: Sequence[TrialSpec]) -> dict[str, Any]:
    first, *others = ({name: value for name, value in spec if name != "seed"} for spec in specs)
    return {k: v for k, v in first.items() if all(other[k] == v for other in others)}


def _matches(spec: TrialSpec, shared: dict[str, Any]) -> bool:
    return all(getattr(spec, name) == value for name, value in shared.items())
