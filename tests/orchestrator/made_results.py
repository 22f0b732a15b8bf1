"""Results as a trial leaves them, made without training (for tests of what reads results)."""

from __future__ import annotations

from typing import Any

from orchestrator.store.records import TrialStatus
from trainer.journal import Record
from trainer.modes import Counts
from trainer.results import Result
from trainer.spec import TrialSpec


def made(
    spec: TrialSpec,
    accuracy: float = 50.0,
    *,
    code: str = "c" * 64,
    data: str = "d" * 64,
    exact: bool = True,
    metrics: dict[str, float] | None = None,
    **numerics: Any,
) -> Result:
    """A finished trial whose accuracy rose linearly from 10 % to `accuracy`."""
    history = [
        Record(
            seq=epoch,
            time_ms=1000 * epoch,
            step=10 * epoch,
            epoch=epoch,
            attempt=1,
            metrics={
                "test/accuracy": 10 + (accuracy - 10) * epoch / max(spec.epochs, 1),
                "test/loss": 2.3 - epoch * 0.01,
                "train/loss": 2.3 - epoch * 0.02,
            },
        )
        for epoch in range(spec.epochs + 1)
    ]
    last = {**history[-1].metrics, "test/accuracy": accuracy, **(metrics or {})}
    history[-1] = history[-1].model_copy(update={"metrics": last})
    return Result(
        trial_id=spec.trial_id,
        config_id=spec.config_id,
        metrics=last,
        attempt=1,
        epochs=spec.epochs,
        seconds=1.0,
        started_ms=0,
        finished_ms=1000,
        peak_memory_bytes=0,
        exact=exact,
        counts=Counts(total=175_258, trainable=1_120, bn=1_120, output=650, shortcut=2_560),
        numerics={"device": "cpu", **numerics},
        digests={"code": code, "data": data, "initial": "", "final": ""},
        spec=spec,
        history=history,
    )


def status(spec: TrialSpec, state: str = "finished", cause: str = "") -> TrialStatus:
    """The status of a trial in `state`."""
    return TrialStatus(spec.trial_id, state, cause=cause, epochs=spec.epochs)  # type: ignore[arg-type]
