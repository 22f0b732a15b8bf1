"""Fields that contradict each other are the user's mistake, found when planning."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from trainer.spec import TrialSpec


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"epochs": 5, "warmup_epochs": 5}, "warmup_epochs: found 5; allowed: below epochs (5)"),
        ({"schedule": "cosine", "restart_epochs": 2}, "restart_epochs: only mean something"),
        ({"schedule": "cosine_restarts"}, "restart_epochs: schedule: cosine_restarts needs"),
        (
            {"schedule": "cosine_restarts", "epochs": 12, "warmup_epochs": 2, "restart_epochs": 4},
            "restart_epochs: found 4; allowed: a divisor of 10",
        ),
        ({"schedule": "cosine", "milestones": (3,)}, "milestones: only mean something"),
        (
            {"epochs": 10, "milestones": (80,)},
            "milestones: found 80; allowed: within the 10 epochs",
        ),
        ({"nesterov": True, "momentum": 0.0}, "nesterov: only means something"),
        ({"nesterov": True, "optimizer": "adam"}, "nesterov: only means something"),
        ({"dataset": "image_folder", "classes": 3}, "data_id: image_folder needs"),
        ({"dataset": "image_folder", "data_id": "x"}, "classes: image_folder needs"),
        (
            {"depth": 10_000},
            "depth: found 10000; allowed for cifar_resnet: 6D+2, the nearest 9998",
        ),
        ({"depth": 3}, "depth: found 3; allowed for cifar_resnet: 6D+2, the nearest 8 and 14"),
        ({"data_id": "x"}, "data_id: is given by dataset: cifar10"),
        ({"validation": 5}, "validation: found 5; allowed: 0, or at least 10, one for each class"),
        (
            {"validation": 49_991},
            "validation: found 49991; allowed: up to 49990 of the 50000 of cifar10, so that each "
            "class keeps one to train on",
        ),
        (
            {"validation": 5000, "train_subset": 45_001},
            "validation: found 5000; allowed: up to 4999 of the 50000 of cifar10, beside "
            "train_subset: 45001",
        ),
        (
            {"dataset": "synthetic", "validation": 600},
            "validation: found 600; allowed: up to 502 of the 512 of synthetic",
        ),
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
        {"dataset": "image_folder", "data_id": "flowers", "classes": 3, "image_size": 64},
        {"dataset": "imagenet", "model": "imagenet_resnet", "depth": 18},
        {"validation": 5000, "train_subset": 45_000},
        {"validation": 49_990},
        {"dataset": "synthetic", "validation": 600, "train_subset": 300},
        {
            "dataset": "image_folder",
            "data_id": "a",
            "classes": 3,
            "image_size": 64,
            "validation": 600,
        },
    ],
)
def test_fields_that_fit_are_accepted(fields) -> None:
    TrialSpec(**fields)
