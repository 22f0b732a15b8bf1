"""Which trials may share a program."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_trials import small

from trainer import packing
from trainer.spec import TrialSpec


def output_only(**fields: object) -> TrialSpec:
    return small(trainable="output_only", **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"lr": 0.3},
        {"weight_decay": 0.0},
        {"momentum": 0.5},
        {"nesterov": True},
        {"optimizer": "adam"},
        {"schedule": "cosine"},
        {"milestones": (1,)},
        {"warmup_epochs": 1},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_changes_the_output_layer_alone_may_differ_within_a_pack(
    fields: dict[str, object],
) -> None:
    assert packing.groups([output_only(), output_only(**fields)]) == [[0, 1]]


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 1},
        {"init": "binary"},
        {"bn_init": "oneone"},
        {"depth": 14},
        {"width": 2},
        {"batch_size": 32},
        {"epochs": 3},
        {"precision": "bf16"},
        {"flip": False},
        {"train_subset": 100},
        {"bn_momentum": 0.2},
        {"deterministic": True},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_changes_the_network_or_the_batches_does_not(fields: dict[str, object]) -> None:
    assert packing.groups([output_only(), output_only(**fields)]) == [[0], [1]]


def test_every_field_is_either_the_heads_or_keeps_trials_apart() -> None:
    assert set(TrialSpec.model_fields) >= packing.HEAD_FIELDS


@pytest.mark.parametrize("mode", ["all", "bn_only", "bn_output", "nothing"])
def test_modes_that_change_the_features_stand_alone(mode: str) -> None:
    specs = [small(trainable=mode, lr=lr) for lr in (0.1, 0.2)]
    assert packing.groups(specs) == [[0], [1]]


def test_packs_are_of_nearly_equal_size_and_none_is_larger_than_asked() -> None:
    specs = [output_only(lr=0.1 + n / 100) for n in range(7)]
    assert packing.groups(specs, 3) == [[0, 1], [2, 3], [4, 5, 6]]
    assert packing.groups(specs, "off") == [[n] for n in range(7)]
    assert packing.groups(specs, 1) == [[n] for n in range(7)]
    assert packing.groups([], "auto") == []


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=40), st.integers(1, 6))
def test_each_trial_is_in_exactly_one_pack(kinds: list[tuple[int, bool]], largest: int) -> None:
    specs = [
        small(seed=seed, trainable="output_only" if head else "all", lr=0.1 + n / 100)
        for n, (seed, head) in enumerate(kinds)
    ]
    packs = packing.groups(specs, largest)
    assert sorted(index for pack in packs for index in pack) == list(range(len(specs)))
    assert all(len(pack) <= largest for pack in packs)


def test_planning_packs_needs_no_torch() -> None:
    code = "import sys, trainer.packing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
