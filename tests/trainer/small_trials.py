"""Small real trials: the shallowest network on 8x8 images, a second or less each."""

from __future__ import annotations

from typing import Any

from trainer.journal import Record
from trainer.kernels.cuda_graphs import Outputs, Replay
from trainer.results import Result
from trainer.spec import TrialSpec

SMALL: dict[str, Any] = {
    "depth": 8,
    "dataset": "synthetic",
    "image_size": 8,
    "train_subset": 200,
    "batch_size": 64,
    "epochs": 2,
    "crop_padding": 1,
}


def small(**fields: Any) -> TrialSpec:
    """A spec that trains within a second; 200 images make 4 steps, the last one short."""
    return TrialSpec.model_validate({**SMALL, **fields})


def digits(**fields: Any) -> TrialSpec:
    """A spec on the real digits: 1,437 images, 12 steps of 128."""
    return TrialSpec.model_validate(
        {"depth": 8, "dataset": "digits", "epochs": 2, "crop_padding": 1, "flip": False, **fields}
    )


TIMED = {"images_per_second"}


def numbers(result: Result) -> list[Any]:
    """All that must not depend on interruptions."""
    return [
        (record.seq, record.step, record.epoch, sorted(record.metrics.items() - timed(record)))
        for record in result.history
    ] + [result.digests["final"], result.digests["initial"]]


def timed(record: Record) -> set[tuple[str, float]]:
    return {item for item in record.metrics.items() if item[0] in TIMED}


def rerun(run: object) -> tuple[Replay, Outputs]:
    """What a CUDA graph does, on the CPU: outputs at fixed places, overwritten at each replay."""
    loss, hits, gradient = (tensor.clone() for tensor in run())  # type: ignore[operator]

    def replay() -> None:
        for place, value in zip((loss, hits, gradient), run(), strict=True):  # type: ignore[operator]
            place.copy_(value)

    return replay, (loss, hits, gradient)
