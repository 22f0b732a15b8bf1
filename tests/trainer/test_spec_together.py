"""Fields that contradict each other are the user's mistake, found when planning."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from trainer.spec import TrialSpec


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"epochs": 5, "warmup_epochs": 5}, "warmup_epochs: 5 leaves nothing of the 5 epochs"),
        ({"schedule": "cosine", "restart_epochs": 2}, "restart_epochs: only means something"),
        ({"schedule": "cosine_restarts"}, "restart_epochs: schedule: cosine_restarts needs"),
        (
            {"schedule": "cosine_restarts", "epochs": 12, "warmup_epochs": 2, "restart_epochs": 4},
            "restart_epochs: 4 does not divide the 10 epochs",
        ),
        ({"schedule": "cosine", "milestones": (3,)}, "milestones: only mean something"),
        ({"epochs": 10, "milestones": (80,)}, "milestones: 80 is not within the 10 epochs"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov: only means something"),
        ({"nesterov": True, "optimizer": "adam"}, "nesterov: only means something"),
        ({"dataset": "image_folder", "classes": 3}, "data_id: dataset: image_folder needs"),
        ({"dataset": "image_folder", "data_id": "x"}, "classes: dataset: image_folder needs"),
        ({"data_id": "x"}, "data_id: only means something with a folder of images, not cifar10"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, problem) -> None:
    with pytest.raises(ValidationError) as caught:
        TrialSpec(**fields)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "cosine_restarts", "epochs": 12, "warmup_epochs": 2, "restart_epochs": 5},
        {"schedule": "cosine", "warmup_epochs": 5},
        {"nesterov": True},
        {"dataset": "image_folder", "data_id": "flowers", "classes": 3},
        {"dataset": "imagenet", "model": "imagenet_resnet", "depth": 18},
    ],
)
def test_fields_that_fit_are_accepted(fields) -> None:
    TrialSpec(**fields)
