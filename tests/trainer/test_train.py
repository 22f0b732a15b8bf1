from __future__ import annotations

import json

import pytest
import torch
from small_trials import digits, numbers, small

from trainer import journal
from trainer.errors import Diverged, FreezeViolation, SpecError
from trainer.results import ARTIFACTS, FINAL_TENSORS, FREEZE_PROOF, JOURNAL, RESULT, Result
from trainer.train import Trial, train


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


def test_no_two_seeds_are_alike_and_one_seed_repeats(tmp_path, options) -> None:
    first, again, other = (
        train(small(seed=seed, epochs=1), tmp_path / str(number), options=options)
        for number, seed in enumerate([0, 0, 1])
    )
    assert numbers(first) == numbers(again)
    assert first.digests["final"] != other.digests["final"]
    assert first.digests["data"] == other.digests["data"]


def test_nothing_trains_but_batchnorm_statistics_move(tmp_path, options) -> None:
    result = train(small(trainable="nothing", epochs=1), tmp_path, options=options)
    saved = torch.load(tmp_path / ARTIFACTS / FINAL_TENSORS, weights_only=True)
    assert {name.rpartition(".")[2] for name in saved} == {"running_mean", "running_var"}
    assert all(tensor.abs().sum() > 0 for name, tensor in saved.items() if "mean" in name)
    assert result.counts.trainable == 0


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


def test_a_violated_freeze_fails_the_trial_and_the_proof_tells_it_too(tmp_path, options) -> None:
    trial = Trial(small(trainable="bn_only"), tmp_path, 1, None, options, torch.device("cpu"))
    with torch.no_grad():
        trial.learner.model.fc.bias.add_(1)
    with pytest.raises(FreezeViolation, match=r"^frozen, but changed: fc\.bias$"):
        trial.run()
    proof = json.loads((tmp_path / ARTIFACTS / FREEZE_PROOF).read_text())
    assert proof["violations"] == ["frozen, but changed: fc.bias"]
    assert not (tmp_path / RESULT).exists()


def test_a_last_batch_that_batchnorm_cannot_take_is_refused_before_training(
    tmp_path, options
) -> None:
    fields = {"model": "imagenet_resnet", "depth": 18, "image_size": 32, "train_subset": 129}
    with pytest.raises(SpecError, match="129 images in batches of 64 leave a batch of one"):
        train(small(**fields), tmp_path, options=options)
    trained = train(small(**fields | {"train_subset": 66, "epochs": 1}), tmp_path, options=options)
    assert trained.epochs == 1
