"""What the store says of sweeps and trials: plain records, no folders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from orchestrator.sweep.sweep_spec import SweepSpec
from trainer.spec import TrialSpec

State = Literal["pending", "running", "finished", "failed", "stopped"]
STATES: tuple[State, ...] = ("pending", "running", "finished", "failed", "stopped")
StopMode = Literal["graceful", "now"]


@dataclass(frozen=True)
class TrialStatus:
    """A trial's state as its folder says now."""

    trial_id: str
    state: State
    attempt: int = 0
    epoch: int | None = None
    """The last completed epoch; None before the first evaluation."""
    epochs: int = 0
    test_accuracy: float | None = None
    validation_accuracy: float | None = None
    """Of a trial that keeps training images for validation; both in percent."""
    cause: str = ""
    owner: str = ""
    """Host and process of a running trial."""
    user: str = ""
    """Whose process that is; "" of a finished trial, as the next one."""
    host: str = ""
    gpu: str = ""
    """Index of the GPU that it was given."""
    images_per_second: float | None = None
    started_ms: int | None = None
    """When the newest attempt began."""
    updated_ms: int | None = None
    """When the last epoch was recorded."""
    seconds: float | None = None
    """Training time of a finished trial; in a pack that of the whole pack."""
    packed: int = 1
    """How many trials trained together with a finished one, itself included."""
    processes: int = 1
    """How many have trained a finished trial together."""
    step: int | None = None
    """Updates done in the epoch under way, of a running trial that has said it; up to 15 s old."""
    steps: int | None = None
    """Updates that this epoch has."""
    seconds_since_step: float | None = None
    seconds_since_checkpoint: float | None = None
    """Of a running trial: what a kill would cost now."""

    @property
    def epochs_done(self) -> float:
        """Completed epochs, and the part that is done of the one under way."""
        part = self.step / self.steps if self.step and self.steps else 0.0
        return (self.epoch or 0) + part


def count_states(statuses: Iterable[TrialStatus]) -> dict[State, int]:
    """Number of trials in each state."""
    states = [status.state for status in statuses]
    return {state: states.count(state) for state in STATES}


def stands_for(typed: str, identity: str) -> bool:
    """Whether what a person typed is the beginning of a trial's or configuration's id, or of its
    last part, the hash."""
    return identity.startswith(typed) or identity.rpartition("-")[2].startswith(typed)


class Launch(BaseModel):
    """`launches/<n>.json`: what was launched, complete enough to launch it again."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = 2
    number: int
    time_ms: int
    user: str = ""
    """Who launched; empty in files of before."""
    host: str
    sweep: SweepSpec
    data: str = ""
    """Its data folder, on that host; empty: not known."""
    commit: str = ""
    """Of the checkout that launched, with `-dirty` where its files differ; empty: not known."""

    @model_validator(mode="before")
    @classmethod
    def _from_version_1(cls, data: Any) -> Any:
        """In version 1 `sweep` was the name, and the sweep's other fields stood beside it."""
        if isinstance(data, dict) and isinstance(data.get("sweep"), str):
            own = {name: data[name] for name in SweepSpec.model_fields if name in data}
            return {**data, "version": 2, "sweep": {**own, "name": data["sweep"]}}
        return data

    @property
    def specs(self) -> tuple[TrialSpec, ...]:
        """The sweep's trials."""
        return self.sweep.trials


class Stop(BaseModel):
    """`stop.json`: obeyed by launch `launch` and those before it, ignored by newer ones."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    launch: int
    mode: StopMode
    trials: tuple[str, ...] = ()
    """Only these; empty: all."""
    cause: str = ""
    """Why a launch has asked itself: `max_gpu_hours`; empty where a person or a signal has."""
    earlier: tuple[Stop, ...] = ()
    """Requests made before that this one does not cover: they stand beside it."""

    def covers(self, other: Stop) -> bool:
        """Whether whoever obeys this request does all that the other one asks."""
        return (
            other.launch <= self.launch
            and (self.mode == "now" or other.mode == "graceful")
            and (not self.trials or (bool(other.trials) and {*other.trials} <= {*self.trials}))
        )
