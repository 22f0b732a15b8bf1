"""Small real trials: the shallowest network on 8x8 images, a second or less each."""

from __future__ import annotations

from typing import Any

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
