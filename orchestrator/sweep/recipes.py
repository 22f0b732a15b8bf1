"""Recipes: named sets of field values, nothing more; a sweep file can override each of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_PAPER_CIFAR: dict[str, Any] = {
    "epochs": 160,
    "batch_size": 128,
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "schedule": "step",
    "crop_padding": 4,
    "flip": True,
    "normalisation": "imagenet",
}

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "digits": {
            **_PAPER_CIFAR,
            "dataset": "digits",
            "epochs": 20,
            "batch_size": 64,
            "crop_padding": 1,
            "flip": False,
        },
        "cifar10": {**_PAPER_CIFAR, "dataset": "cifar10"},
        "cifar100": {**_PAPER_CIFAR, "dataset": "cifar100"},
        "imagenet": {
            **_PAPER_CIFAR,
            "model": "imagenet_resnet",
            "depth": 18,
            "dataset": "imagenet",
            "epochs": 90,
            "batch_size": 1024,
            "bn_batch": 256,  # assumed: the framework's own baseline trained on four GPUs
            "lr": 0.4,
            "milestones": (30, 60, 80),
            "warmup_epochs": 5,
            "crop_padding": 0,
        },
    }
)
"""The paper's two recipes, the same for CIFAR-100, and one for scikit-learn's digits."""


def recipe_fields(name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's values under a configuration's `own` fields.

    Its milestones belong to its length and schedule: a configuration that changes either, and names
    no milestones, has the default ones.
    """
    fields = dict(RECIPES[name]) if name else {}
    if {"epochs", "schedule"} & own.keys() and "milestones" not in own:
        fields.pop("milestones", None)
    return {**fields, **own}
