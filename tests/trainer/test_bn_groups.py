"""Trials whose batches are cut into BatchNorm groups; against plain torch in
test_against_plain_torch.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trials import numbers, rerun, small

from trainer import bn_groups, checkpoint, grouping
from trainer.errors import SpecError, Stopped
from trainer.learner import Learner
from trainer.packs.pack_training import Member, train_pack
from trainer.results import Result
from trainer.spec import RulesError, TrialSpec
from trainer.train import Options, train

CPU = torch.device("cpu")


def test_a_batch_is_cut_into_groups_of_consecutive_images_the_last_one_shorter() -> None:
    assert bn_groups.cut(100, 32) == [slice(0, 32), slice(32, 64), slice(64, 96), slice(96, 100)]
    assert bn_groups.cut(24, 32) == [slice(0, 24)]


def test_a_group_must_divide_the_batch() -> None:
    with pytest.raises(
        ValueError, match=r"bn_batch: found 48; allowed: 0 .* divisor of batch_size \(128\)"
    ) as e:
        TrialSpec(bn_batch=48)
    assert isinstance(e.value.errors()[0]["ctx"]["error"], RulesError)  # type: ignore[attr-defined]


def test_the_whole_batch_spelled_out_has_the_id_of_the_default_and_another_group_its_own() -> None:
    whole, spelled, other = (TrialSpec(bn_batch=size) for size in (0, 128, 64))
    assert whole.trial_id == spelled.trial_id != other.trial_id
    assert spelled.identity_fields() == {}


@pytest.mark.parametrize("mode", ["all", "bn_only", "random_k", "nothing"])
@pytest.mark.parametrize("kernels", ["stock", "auto"])
def test_one_group_of_the_whole_batch_has_the_bits_of_no_groups(
    mode: str, kernels: Any, tmp_path: Path, options: Options
) -> None:
    options = replace(options, kernels=kernels)
    fields: dict[str, Any] = {"trainable": mode, "k": 2 if mode == "random_k" else 0, "epochs": 1}
    plain = train(small(**fields), tmp_path / "plain", options=options)
    spelled = train(small(bn_batch=64, **fields), tmp_path / "spelled", options=options)
    assert numbers(plain) == numbers(spelled)


@pytest.mark.parametrize("mode", ["all", "bn_only"])
def test_groups_are_stopped_within_an_epoch_and_resumed_to_the_same_bits(
    mode: str, tmp_path: Path, options: Options
) -> None:
    spec = small(trainable=mode, bn_batch=16)
    undisturbed = train(spec, tmp_path / "undisturbed", options=options)
    steps = iter(range(100))
    with pytest.raises(Stopped):
        train(spec, tmp_path / "a", options=replace(options, poll=lambda: next(steps) == 6))
    resume = checkpoint.find([tmp_path / "a"], spec)
    assert resume
    assert (resume.epoch, resume.step) == (1, 2)
    assert numbers(train(spec, tmp_path / "a", resume=resume, options=options)) == numbers(
        undisturbed
    )


def test_trials_of_groups_share_a_forward_with_the_bits_of_each_alone(
    tmp_path: Path, options: Options
) -> None:
    specs = [small(trainable="output_only", bn_batch=16, lr=lr) for lr in (0.1, 0.01)]
    assert grouping.groups(specs) == [[0, 1]]
    members = [Member(spec, tmp_path / f"{spec.lr}") for spec in specs]
    for spec, outcome in zip(specs, train_pack(members, options), strict=True):
        assert isinstance(outcome, Result)
        alone = train(spec, tmp_path / f"alone {spec.lr}", options=options)
        assert numbers(outcome) == numbers(alone)


def test_other_groups_share_no_forward() -> None:
    specs = [small(trainable="output_only", bn_batch=size) for size in (16, 32)]
    assert grouping.groups(specs) == [[0], [1]]


def test_a_recorded_graph_is_replayed_for_each_group() -> None:
    spec = small(bn_batch=16)
    images, labels = torch.randn(64, 3, 8, 8), torch.arange(64) % 10
    found = []
    for graphed in (False, True):
        learner = Learner(spec, CPU)
        if graphed:
            assert learner.record_graph(rerun)
            assert learner.graph
            assert learner.graph.fits(images[:16])
        learner.model.train()
        outputs = [learner.step(images, labels, 0.1, number) for number in range(2)]
        found.append((learner.flat.values, learner.flat.statistics, *map(torch.stack, outputs)))
    assert all(map(torch.equal, *found))


def test_a_group_of_one_image_is_refused_where_batchnorm_has_no_variance(
    tmp_path: Path, options: Options
) -> None:
    fields = {"model": "imagenet_resnet", "depth": 18, "image_size": 32, "train_subset": 97}
    spec = small(batch_size=64, bn_batch=32, **fields)
    with pytest.raises(
        SpecError, match="bn_batch: 97 images in batches of 32 leave a batch of one"
    ):
        train(spec, tmp_path, options=options)
