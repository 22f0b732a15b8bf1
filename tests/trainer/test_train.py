from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trials import digits, small

from trainer import checkpoint, journal
from trainer.errors import DataError, Diverged, Stopped
from trainer.results import (
    ARTIFACTS,
    CHECKPOINT,
    FINAL_TENSORS,
    FREEZE_PROOF,
    JOURNAL,
    RESULT,
    Result,
)
from trainer.spec import TrialSpec
from trainer.train import Options, train

TIMED = {"images_per_second"}


def numbers(result: Result) -> list[Any]:
    """All that must not depend on interruptions."""
    return [
        (record.seq, record.step, record.epoch, sorted(record.metrics.items() - timed(record)))
        for record in result.history
    ] + [result.digests["final"], result.digests["initial"]]


def timed(record: journal.Record) -> set[tuple[str, float]]:
    return {item for item in record.metrics.items() if item[0] in TIMED}


def stopping_at(options: Options, step: int) -> Options:
    """Options that ask for a stop before the given update, counted from 0."""
    counter = itertools.count()
    return replace(options, poll=lambda: next(counter) == step)


def interrupted(spec: TrialSpec, folder: Path, options: Options, step: int) -> Result:
    """Stop before `step`, then go on in a second attempt."""
    with pytest.raises(Stopped):
        train(spec, folder / "1", options=stopping_at(options, step))
    resume = checkpoint.find([folder / "1"], spec)
    assert resume is not None
    assert resume.header.step == step
    return train(spec, folder / "2", attempt=2, resume=resume, options=options)


def test_a_trial_leaves_its_journal_artifacts_and_result(tmp_path, options) -> None:
    result = train(small(), tmp_path / "t", options=options)
    stored = Result.model_validate_json((tmp_path / "t" / RESULT).read_bytes(), strict=False)
    assert stored == result
    assert journal.read(tmp_path / "t" / JOURNAL) == result.history
    assert [record.epoch for record in result.history] == [0, 1, 2]
    assert [record.step for record in result.history] == [0, 4, 8]
    assert result.history[-1].metrics.keys() == {
        "train/loss",
        "train/accuracy",
        "test/loss",
        "test/accuracy",
        "test/accuracy_top5",
        "lr",
        "images_per_second",
    }
    assert json.loads((tmp_path / "t" / ARTIFACTS / FREEZE_PROOF).read_text())
    assert (tmp_path / "t" / ARTIFACTS / FINAL_TENSORS).exists()


def test_training_learns(tmp_path, options) -> None:
    spec = digits(batch_size=64)
    accuracies = [
        r.metrics["test/accuracy"] for r in train(spec, tmp_path, options=options).history
    ]
    assert accuracies[-1] > 60 > 30 > accuracies[0]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("trainable", "k"), [("all", 0), ("bn_only", 0), ("random_k", 2)])
def test_a_run_resumed_anywhere_equals_the_uninterrupted_one_bit_for_bit(
    trainable, k, precision, tmp_path, options
) -> None:
    spec = small(trainable=trainable, k=k, precision=precision)
    whole = train(spec, tmp_path / "whole", options=options)
    for step in (0, 2, 4, 7):
        resumed = interrupted(spec, tmp_path / str(step), options, step)
        assert numbers(resumed) == numbers(whole), f"stopped before step {step}"
        assert resumed.exact


def test_no_two_seeds_are_alike_and_one_seed_repeats(tmp_path, options) -> None:
    first, again, other = (
        train(small(seed=seed, epochs=1), tmp_path / str(number), options=options)
        for number, seed in enumerate([0, 0, 1])
    )
    assert numbers(first) == numbers(again)
    assert first.digests["final"] != other.digests["final"]
    assert first.digests["data"] == other.digests["data"]


def test_a_resume_writes_the_journal_lines_that_the_killed_attempt_lacks(tmp_path, options) -> None:
    spec, first = small(), tmp_path / "1"
    with pytest.raises(Stopped):
        train(spec, first, options=stopping_at(options, 4))
    lines = (first / JOURNAL).read_bytes().splitlines(keepends=True)
    (first / JOURNAL).write_bytes(lines[0] + lines[1][:40])  # killed while writing epoch 1's line
    resume = checkpoint.find([first], spec)
    train(spec, tmp_path / "2", attempt=2, resume=resume, options=options)
    records = journal.read(tmp_path / "2" / JOURNAL)
    assert [(record.epoch, record.attempt) for record in records] == [(1, 1), (2, 2)]
    assert records[0].time_ms == resume.history[1].time_ms


def test_resuming_in_the_same_folder_doubles_no_line(tmp_path, options) -> None:
    spec = small()
    with pytest.raises(Stopped):
        train(spec, tmp_path, options=stopping_at(options, 6))
    (tmp_path / CHECKPOINT).write_bytes(b"damaged")  # falls back to the end of epoch 1
    result = train(spec, tmp_path, resume=checkpoint.find([tmp_path], spec), options=options)
    assert journal.read(tmp_path / JOURNAL) == result.history
    assert [record.epoch for record in result.history] == [0, 1, 2]


def test_nothing_trains_but_batchnorm_statistics_move(tmp_path, options) -> None:
    result = train(small(trainable="nothing", epochs=1), tmp_path, options=options)
    saved = torch.load(tmp_path / ARTIFACTS / FINAL_TENSORS, weights_only=True)
    assert all("running" in name for name in saved)
    assert any(tensor.abs().sum() > 0 for name, tensor in saved.items() if "mean" in name)
    assert result.counts.trainable == 0


def test_a_resume_under_another_thread_count_goes_on_and_says_it_is_not_exact(
    tmp_path, options
) -> None:
    spec = small()
    with pytest.raises(Stopped):
        train(spec, tmp_path / "1", options=stopping_at(options, 4))
    resume = checkpoint.find([tmp_path / "1"], spec)
    more = replace(options, threads=2)
    result = train(spec, tmp_path / "2", attempt=2, resume=resume, options=more)
    assert not result.exact
    assert result.numerics["threads"] == 2


def test_a_resume_on_other_data_is_refused(tmp_path, options) -> None:
    spec = small()
    with pytest.raises(Stopped):
        train(spec, tmp_path / "1", options=stopping_at(options, 4))
    resume = checkpoint.find([tmp_path / "1"], spec)
    digests = resume.header.digests | {"data": "0" * 64}
    other = resume.model_copy(
        update={"header": resume.header.model_copy(update={"digests": digests})}
    )
    with pytest.raises(DataError, match="not what this trial began with"):
        train(spec, tmp_path / "2", attempt=2, resume=other, options=options)


def test_a_loss_that_is_not_finite_ends_the_trial_with_epoch_step_and_last_loss(
    tmp_path, options
) -> None:
    with pytest.raises(Diverged) as caught:
        train(small(lr=1e30, schedule="constant"), tmp_path, options=options)
    assert caught.value.epoch == 1
    assert caught.value.step > 0
    assert caught.value.last_loss is not None
    assert [record.epoch for record in journal.read(tmp_path / JOURNAL)] == [0]


def test_zero_epochs_give_a_result_of_the_initial_network(tmp_path, options) -> None:
    result = train(small(epochs=0), tmp_path, options=options)
    assert [record.epoch for record in result.history] == [0]
    assert result.metrics["lr"] == 0.1


def test_torch_s_global_state_is_left_as_it_was(tmp_path, options) -> None:
    torch.set_num_threads(2)
    before = (torch.get_rng_state(), torch.get_default_dtype(), torch.is_grad_enabled())
    train(small(epochs=1, deterministic=True), tmp_path, options=options)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == before[1:]
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()
