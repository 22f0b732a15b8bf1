"""Who of a pack is trained together, in which form, and who follows alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_packs import alone, bits, pack
from small_trials import small

from trainer import journal
from trainer.errors import DataError, OutOfMemory
from trainer.learner import Learner
from trainer.packs import pack_training
from trainer.packs.pack_training import train_pack
from trainer.results import JOURNAL, Result
from trainer.spec import TrialSpec
from trainer.train import Options

HEADS = [small(trainable="output_only", lr=lr) for lr in (0.1, 0.02, 0.05)]
MIXED = [small(trainable="bn_only"), small(trainable="all", seed=1), small(trainable="nothing")]


def test_trials_that_share_nothing_follow_one_another(tmp_path: Path, options: Options) -> None:
    specs = [small(epochs=1, trainable="bn_only"), HEADS[0], small(epochs=1), HEADS[1]]
    outcomes = train_pack(pack(specs, tmp_path), options)
    assert [o.trial_id for o in outcomes if isinstance(o, Result)] == [s.trial_id for s in specs]
    assert isinstance(outcomes[0], Result)
    assert isinstance(outcomes[1], Result)
    assert outcomes[0].numerics["packed"] == 1
    assert outcomes[1].numerics["packed"] == 2


def test_data_that_is_missing_is_every_members_failure(tmp_path: Path, options: Options) -> None:
    specs = [
        TrialSpec(trainable="output_only", dataset="cifar100", epochs=1, lr=lr) for lr in (0.1, 0.2)
    ]
    outcomes = train_pack(pack(specs, tmp_path), replace(options, data=tmp_path / "none"))
    assert [type(outcome) for outcome in outcomes] == [DataError] * 2


def test_a_member_with_a_damaged_place_fails_alone(tmp_path: Path, options: Options) -> None:
    (tmp_path / "1").write_text("a file where the folder should be")
    outcomes = train_pack(pack(HEADS[:3], tmp_path), options)
    assert isinstance(outcomes[1], FileExistsError)
    assert isinstance(outcomes[0], Result)
    assert isinstance(outcomes[2], Result)


def test_on_the_cpu_trials_that_could_take_turns_follow_one_another(
    tmp_path: Path, options: Options
) -> None:
    outcomes = train_pack(pack(MIXED[:2], tmp_path), options)
    assert [o.numerics["packed"] for o in outcomes if isinstance(o, Result)] == [1, 1]


@pytest.mark.parametrize(("step", "again_from"), [(0, 0), (2, 0), (6, 4)])
def test_a_member_that_finds_no_memory_beside_the_others_goes_on_alone(
    step: int, again_from: int, tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on from its last checkpoint, in its own folder, with the bits of a trial alone."""
    expected = [alone(spec, tmp_path / f"alone {n}", options) for n, spec in enumerate(MIXED)]
    steps, begun = Learner.step, []

    def until_full(self: Learner, images: Any, labels: Any, rate: float, number: int) -> Any:
        if self.spec == MIXED[1]:
            begun.append(number)
            if begun == list(range(step + 1)):
                raise MemoryError
        return steps(self, images, labels, rate, number)

    monkeypatch.setattr(Learner, "step", until_full)
    outcomes = pack_training._train_on_streams(dict(enumerate(pack(MIXED, tmp_path))), options)
    assert begun == [*range(step + 1), *range(again_from, 8)]
    assert [bits(outcomes[n]) for n in range(3)] == expected
    found = outcomes[1]
    assert isinstance(found, Result)
    assert (found.exact, found.numerics["packed"], found.attempt) == (True, 1, 1)
    assert journal.read(tmp_path / "1" / JOURNAL) == found.history


def test_a_member_that_cannot_be_built_beside_the_others_is_trained_after_them(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, full = Learner.__init__, [1]

    def once_full(self: Learner, spec: TrialSpec, *given: Any) -> None:
        if spec == MIXED[1] and full:
            full.pop()
            raise MemoryError
        build(self, spec, *given)

    monkeypatch.setattr(Learner, "__init__", once_full)
    outcomes = pack_training._train_on_streams(dict(enumerate(pack(MIXED, tmp_path))), options)
    assert not full
    for number, spec in enumerate(MIXED):
        assert bits(outcomes[number]) == alone(spec, tmp_path / f"alone {number}", options)


def test_a_member_that_finds_no_memory_alone_either_ends_so(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Learner.step

    def full(self: Learner, *given: Any) -> Any:
        if self.spec == MIXED[0]:
            raise MemoryError
        return steps(self, *given)

    monkeypatch.setattr(Learner, "step", full)
    outcomes = pack_training._train_on_streams(dict(enumerate(pack(MIXED[:2], tmp_path))), options)
    assert isinstance(outcomes[0], OutOfMemory)
    assert isinstance(outcomes[1], Result)
