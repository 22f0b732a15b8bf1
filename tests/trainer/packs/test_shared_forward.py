"""Members that share a frozen network are trained exactly as alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_packs import alone, before_step, bits, pack
from small_trials import small

from trainer import checkpoint, journal
from trainer.errors import Diverged, OutOfMemory, Stopped
from trainer.learner import Learner
from trainer.packs.pack_training import train_pack
from trainer.packs.shared_forward import SharedForward
from trainer.results import CHECKPOINT, JOURNAL, RESULT, Result
from trainer.spec import TrialSpec
from trainer.train import Options, train


def head(**fields: Any) -> TrialSpec:
    return small(trainable="output_only", **fields)


HEADS = [
    head(lr=0.1),
    head(lr=0.02, weight_decay=0.0, momentum=0.0),
    head(lr=0.05, nesterov=True, schedule="cosine", warmup_epochs=1),
    head(lr=0.01, optimizer="adam"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_member_has_the_bits_of_a_trial_alone(
    precision: str, tmp_path: Path, options: Options
) -> None:
    specs = [spec.changed(precision=precision) for spec in HEADS]
    together = train_pack(pack(specs, tmp_path), options)
    for number, spec in enumerate(specs):
        assert bits(together[number]) == alone(spec, tmp_path / f"alone {number}", options)


def test_each_member_leaves_its_own_journal_checkpoint_and_result(
    tmp_path: Path, options: Options
) -> None:
    outcomes = train_pack(pack(HEADS, tmp_path), options)
    for number, (spec, outcome) in enumerate(zip(HEADS, outcomes, strict=True)):
        assert isinstance(outcome, Result)
        folder = tmp_path / str(number)
        stored = Result.model_validate_json((folder / RESULT).read_bytes(), strict=False)
        assert stored.trial_id == spec.trial_id
        assert journal.read(folder / JOURNAL) == outcome.history
        assert checkpoint.load(folder / CHECKPOINT, spec).epoch == spec.epochs
        assert stored.numerics["packed"] == len(HEADS)


def test_the_frozen_network_is_computed_once_for_all(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    features = Learner.features

    def counted(self: Learner, images: Any) -> Any:
        passes.append(self)
        return features(self, images)

    monkeypatch.setattr(Learner, "features", counted)
    train_pack(pack(HEADS, tmp_path), options)
    training, evaluations = 2 * 4, 3  # 2 epochs of 4 steps; a test batch before and after each
    assert len(passes) == training + evaluations
    assert len({id(learner) for learner in passes}) == 1


def test_a_pack_holds_the_frozen_network_once(tmp_path: Path, options: Options) -> None:
    running = SharedForward(dict(enumerate(pack(HEADS, tmp_path))), options)
    for index in running.members:
        running.trials[index] = running.build(index)
    models = [trial.learner.model for trial in running.trials.values()]
    assert len({model.get_parameter("conv1.weight").data_ptr() for model in models}) == 1
    assert len({model.get_parameter("fc.weight").data_ptr() for model in models}) == len(HEADS)


@pytest.mark.parametrize("diverging", [0, 2])
def test_a_member_that_diverges_leaves_the_others_as_they_would_be(
    diverging: int, tmp_path: Path, options: Options
) -> None:
    specs = list(HEADS[:3])
    specs[diverging] = head(lr=1e30)
    outcomes = train_pack(pack(specs, tmp_path), options)
    assert isinstance(outcomes[diverging], Diverged)
    assert not (tmp_path / str(diverging) / RESULT).exists()
    for number in {0, 1, 2} - {diverging}:
        expected = alone(specs[number], tmp_path / f"alone {number}", options)
        assert bits(outcomes[number]) == expected


@pytest.mark.parametrize("step", [0, 2, 4, 5])
def test_a_member_may_stop_alone_and_resume_alone(
    step: int, tmp_path: Path, options: Options
) -> None:
    outcomes = train_pack(pack(HEADS[:3], tmp_path, poll={0: before_step(step)}), options)
    assert isinstance(outcomes[0], Stopped)
    assert bits(outcomes[1]) == alone(HEADS[1], tmp_path / "alone 1", options)
    resume = checkpoint.find([tmp_path / "0"], HEADS[0])
    result = train(HEADS[0], tmp_path / "0b", attempt=2, resume=resume, options=options)
    assert bits(result) == alone(HEADS[0], tmp_path / "alone 0", options)
    assert result.exact


def test_a_stopped_pack_resumes_as_a_pack_from_wherever_each_member_stood(
    tmp_path: Path, options: Options
) -> None:
    """One stood in epoch 1, one in epoch 2, one had not begun."""
    polls = {0: before_step(2), 1: before_step(5), 2: before_step(0)}
    outcomes = train_pack(pack(HEADS[:3], tmp_path, poll=polls), options)
    assert [type(outcome) for outcome in outcomes] == [Stopped] * 3
    specs = HEADS[:3]
    resumes = {n: checkpoint.find([tmp_path / str(n)], spec) for n, spec in enumerate(specs)}
    again = train_pack(pack(specs, tmp_path / "again", resume=resumes), options)
    for number, spec in enumerate(specs):
        assert bits(again[number]) == alone(spec, tmp_path / f"alone {number}", options)


def test_records_reach_the_members_own_listener(tmp_path: Path, options: Options) -> None:
    heard: dict[int, list[int]] = {0: [], 1: []}
    listeners = {n: lambda record, n=n: heard[n].append(record.epoch) for n in heard}
    train_pack(pack(HEADS[:2], tmp_path, on_record=listeners), options)
    assert heard == {0: [0, 1, 2], 1: [0, 1, 2]}


def test_memory_that_runs_out_in_the_shared_forward_is_the_outcome_of_all(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Learner, images: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(Learner, "features", full)
    outcomes = train_pack(pack(HEADS[:2], tmp_path), options)
    assert [type(outcome) for outcome in outcomes] == [OutOfMemory] * 2
