from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_trials import small

from trainer import checkpoint, freezing, initial, models
from trainer.errors import Stopped
from trainer.results import INITIAL
from trainer.train import train

ELSEWHERE = small(seed=99)
"""Its initial weights stand for what another machine would draw."""


def digest(spec) -> str:
    return freezing.snapshot(models.build(spec)).digest


def test_weights_that_come_out_of_the_seed_again_need_no_copy(tmp_path) -> None:
    spec = small(trainable="bn_only")
    assert initial.source(spec, digest(spec), tmp_path) is None


def test_where_the_seed_gives_other_weights_the_copy_serves(tmp_path) -> None:
    spec = small(trainable="bn_only")
    there = models.build(ELSEWHERE)
    initial.keep(spec, there, tmp_path, from_copy=True)
    weights = initial.source(spec, digest(ELSEWHERE), tmp_path)
    model = models.build(spec)
    initial.place(model, weights)
    assert freezing.snapshot(model).digest == digest(ELSEWHERE)


@pytest.mark.parametrize("copy", [None, b"", b"damaged", "other"])
def test_without_a_right_copy_there_is_no_resume_rather_than_a_wrong_one(copy, tmp_path) -> None:
    spec = small(trainable="bn_only")
    if copy == "other":
        initial.keep(spec, models.build(small(seed=98)), tmp_path, from_copy=True)
    elif copy is not None:
        (tmp_path / INITIAL).write_bytes(copy)
    with pytest.raises(ValueError, match="initial"):
        initial.source(spec, digest(ELSEWHERE), tmp_path)


def test_where_everything_trains_the_checkpoint_holds_all_and_nothing_is_compared(tmp_path) -> None:
    assert initial.source(small(), digest(ELSEWHERE), tmp_path) is None


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"trainable": "bn_only"}, False),
        ({"trainable": "bn_only", "init": "orthogonal"}, True),
        ({"trainable": "all", "init": "orthogonal"}, False),
    ],
)
def test_only_unstable_draws_of_frozen_weights_are_kept(fields, kept, tmp_path) -> None:
    spec = small(**fields)
    initial.keep(spec, models.build(spec), tmp_path, from_copy=False)
    assert (tmp_path / INITIAL).exists() == kept


def test_a_trial_begun_on_another_machine_goes_on_from_its_copy(
    tmp_path, options, monkeypatch
) -> None:
    spec = small(trainable="bn_only", init="orthogonal")
    whole = train(spec, tmp_path / "whole", options=options)
    steps = iter(range(100))
    with pytest.raises(Stopped):
        train(spec, tmp_path / "1", options=replace(options, poll=lambda: next(steps) == 6))
    build = models.build
    monkeypatch.setattr(models, "build", lambda spec, *rest: build(spec.changed(seed=99), *rest))
    resume = checkpoint.find([tmp_path / "1"], spec)
    result = train(spec, tmp_path / "2", attempt=2, resume=resume, options=options)
    assert result.digests["final"] == whole.digests["final"]
    assert torch.load(tmp_path / "2" / INITIAL, weights_only=True)
    (tmp_path / "1" / INITIAL).unlink()
    assert checkpoint.find([tmp_path / "1"], spec) is None
