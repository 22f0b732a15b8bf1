"""Which trials may share a program."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_trials import small

from trainer import grouping
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
    assert grouping.groups([output_only(), output_only(**fields)]) == [[0, 1]]


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
        {"validation": 20},
        {"bn_momentum": 0.2},
        {"deterministic": True},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_changes_the_network_or_the_batches_does_not(fields: dict[str, object]) -> None:
    assert grouping.groups([output_only(), output_only(**fields)]) == [[0], [1]]


def test_every_field_is_either_the_heads_or_keeps_trials_apart() -> None:
    assert set(TrialSpec.model_fields) >= grouping.HEAD_FIELDS | grouping.STEP_FIELDS


@pytest.mark.parametrize("mode", ["all", "bn_only", "bn_output", "nothing"])
def test_modes_that_change_the_features_stand_alone(mode: str) -> None:
    specs = [small(trainable=mode, lr=lr) for lr in (0.1, 0.2)]
    assert grouping.groups(specs) == [[0], [1]]


def test_packs_are_of_nearly_equal_size_and_none_is_larger_than_asked() -> None:
    specs = [output_only(lr=0.1 + n / 100) for n in range(7)]
    assert grouping.groups(specs, 3) == [[0, 1], [2, 3], [4, 5, 6]]
    assert grouping.groups(specs, "off") == [[n] for n in range(7)]
    assert grouping.groups(specs, 1) == [[n] for n in range(7)]
    assert grouping.groups([], "auto") == []


@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=40),
    st.integers(1, 6),
    st.booleans(),
)
def test_each_trial_is_in_exactly_one_pack(
    kinds: list[tuple[int, bool]], largest: int, streams: bool
) -> None:
    specs = [
        small(seed=seed, trainable="output_only" if head else "all", lr=0.1 + n / 100)
        for n, (seed, head) in enumerate(kinds)
    ]
    packs = grouping.groups(specs, largest, streams=streams)
    assert sorted(index for pack in packs for index in pack) == list(range(len(specs)))
    assert all(len(pack) <= largest for pack in packs)


@pytest.mark.parametrize(
    "fields",
    [
        {"trainable": "bn_only"},
        {"trainable": "random_k", "k": 1},
        {"trainable": "nothing"},
        {"trainable": "output_only"},
        {"seed": 1},
        {"lr": 0.3},
        {"optimizer": "adam"},
        {"init": "binary"},
        {"bn_init": "oneone"},
        {"bn_momentum": 0.2},
        {"flip": False},
        {"crop_padding": 2},
    ],
    ids=lambda fields: next(iter(fields.values())),
)
def test_trials_with_steps_of_one_length_take_turns_on_a_gpu_where_asked_for(
    fields: dict[str, object],
) -> None:
    specs = [small(), small(**fields)]
    assert grouping.groups(specs, 2, streams=True) == [[0, 1]]
    assert not grouping.share_a_forward(specs)
    assert grouping.groups(specs, "auto", streams=True) == [[0, 1]]
    assert grouping.groups(specs, "off", streams=True) == [[0], [1]]
    assert grouping.groups(specs, 1, streams=True) == [[0], [1]]
    assert grouping.groups(specs, 2) == [[0], [1]]


@pytest.mark.parametrize(
    "fields",
    [
        {"depth": 14},
        {"width": 2},
        {"image_size": 16},
        {"train_subset": 100},
        {"validation": 20},
        {"batch_size": 32},
        {"epochs": 3},
        {"precision": "bf16"},
        {"deterministic": True},
        {"weights": "pretrained", "weights_sha256": "0" * 64},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_trials_with_other_steps_or_settings_do_not(fields: dict[str, object]) -> None:
    assert grouping.groups([small(), small(**fields)], 2, streams=True) == [[0], [1]]


def test_auto_puts_few_on_the_streams_of_a_gpu_and_none_whose_images_are_decoded() -> None:
    specs = [small(seed=seed) for seed in range(6)]
    assert grouping.groups(specs, "auto", streams=True) == [[0, 1, 2], [3, 4, 5]]
    folders = [
        spec.changed(dataset="image_folder", data_id="mine", classes=10, train_subset=0)
        for spec in specs
    ]
    assert grouping.groups(folders, "auto", streams=True) == [[n] for n in range(6)]
    assert grouping.groups(folders, 6, streams=True) == [[0, 1, 2, 3, 4, 5]]


def test_heads_that_share_a_network_share_their_forward_on_a_gpu_too() -> None:
    """A single head takes turns with the others."""
    heads = [output_only(lr=0.1), output_only(lr=0.2), output_only(seed=1)]
    specs = [heads[0], small(), heads[1], small(trainable="bn_only"), heads[2]]
    assert grouping.groups(specs, 8, streams=True) == [[0, 2], [1, 3, 4]]
    assert grouping.share_a_forward([specs[0], specs[2]])
    assert not grouping.share_a_forward([specs[1], specs[3], specs[4]])
    assert not grouping.share_a_forward([specs[1], specs[1]])


def test_planning_packs_needs_no_torch() -> None:
    code = "import sys, trainer.grouping; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_not_built_in_trains_alone() -> None:
    own = [output_only(code_sha256="a" * 64, seed=seed) for seed in (0, 0)]
    assert grouping.groups(own, 8) == [[0], [1]]
    assert grouping.groups(own, 8, streams=True) == [[0], [1]]
    assert not grouping.share_a_forward(own)
