from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest
import torch
from small_trials import small

from trainer import checkpoint, freezing
from trainer.errors import Stopped
from trainer.results import INITIAL
from trainer.train import train
from trainer.weights import initial, initial_copy

ELSEWHERE = small(seed=99)
"""Its initial weights stand for what another machine would draw."""


def digest(spec) -> str:
    return freezing.snapshot(initial.build(spec)).digest


def keep(spec, folder, shared=None) -> None:
    model = initial.build(spec)
    initial_copy.keep(model, freezing.freeze(model, spec), digest(spec), folder, shared)


def test_weights_that_come_out_of_the_seed_again_need_no_copy(tmp_path) -> None:
    spec = small(trainable="bn_only")
    network = initial_copy.rebuild(spec, digest(spec), tmp_path)
    assert network.snapshot.digest == freezing.snapshot(network.model).digest == digest(spec)


def test_where_the_seed_gives_other_weights_the_copy_serves(tmp_path) -> None:
    spec = small(trainable="bn_only")
    keep(ELSEWHERE.changed(trainable="bn_only"), tmp_path)
    network = initial_copy.rebuild(spec, digest(ELSEWHERE), tmp_path)
    assert network.snapshot.digest == freezing.snapshot(network.model).digest == digest(ELSEWHERE)


@pytest.mark.parametrize("copy", [None, b"", b"damaged", "other"])
def test_without_a_right_copy_there_is_no_resume_rather_than_a_wrong_one(copy, tmp_path) -> None:
    spec = small(trainable="bn_only")
    if copy == "other":
        keep(small(seed=98, trainable="bn_only"), tmp_path)
    elif copy is not None:
        (tmp_path / INITIAL).write_bytes(copy)
    with pytest.raises(ValueError, match="initial"):
        initial_copy.rebuild(spec, digest(ELSEWHERE), tmp_path)


def test_where_everything_trains_the_checkpoint_holds_all_and_nothing_is_compared(tmp_path) -> None:
    network = initial_copy.rebuild(small(), digest(ELSEWHERE), tmp_path)
    assert network.snapshot.digest == digest(small())


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"trainable": "all"}, False),
        ({"trainable": "bn_only"}, True),
        ({"trainable": "random_k", "k": 2}, True),
        ({"trainable": "nothing"}, True),
    ],
)
def test_a_copy_is_kept_wherever_checkpoints_do_not_hold_the_whole_network(
    fields, kept, tmp_path
) -> None:
    keep(small(**fields), tmp_path)
    assert (tmp_path / INITIAL).exists() == kept


def test_trials_that_begin_alike_share_one_copy(tmp_path) -> None:
    shared = tmp_path / "initial"
    same = [small(trainable="bn_only"), small(trainable="output_only", lr=0.3)]
    for number, spec in enumerate([*same, small(trainable="bn_only", seed=5)]):
        (tmp_path / str(number)).mkdir()
        keep(spec, tmp_path / str(number), shared)
    first, second, other = ((tmp_path / str(n) / INITIAL).stat() for n in range(3))
    assert first.st_ino == second.st_ino != other.st_ino
    assert (first.st_nlink, other.st_nlink) == (3, 2)
    assert {path.name for path in shared.iterdir()} == {
        f"{digest(small())}.pt",
        f"{digest(small(seed=5))}.pt",
    }


@pytest.mark.parametrize("init", ["kaiming_normal", "orthogonal"])
def test_a_trial_begun_on_another_machine_goes_on_from_its_copy(
    init, tmp_path, options, monkeypatch
) -> None:
    spec = small(trainable="bn_only", init=init)
    options = replace(options, initial_weights=tmp_path / "initial")
    whole = train(spec, tmp_path / "whole", options=options)
    steps = iter(range(100))
    with pytest.raises(Stopped):
        train(spec, tmp_path / "1", options=replace(options, poll=lambda: next(steps) == 6))
    build = initial.build
    monkeypatch.setattr(initial, "build", lambda spec, *rest: build(spec.changed(seed=99), *rest))
    resume = checkpoint.find([tmp_path / "1"], spec)
    result = train(spec, tmp_path / "2", attempt=2, resume=resume, options=options)
    assert result.digests["final"] == whole.digests["final"]
    assert torch.load(tmp_path / "2" / INITIAL, weights_only=True)
    (tmp_path / "1" / INITIAL).unlink()
    assert checkpoint.find([tmp_path / "1"], spec) is None


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EMLINK])
def test_where_the_shared_copy_cannot_be_linked_a_trial_has_its_own(
    tmp_path, monkeypatch, number
) -> None:
    spec, link, shared = small(trainable="bn_only"), os.link, tmp_path / "initial"

    def refused(source, target):
        if target.name == INITIAL:
            if number == errno.ENOENT:
                source.unlink()  # as gc may, between the look and the link
            raise OSError(number, os.strerror(number))
        link(source, target)

    monkeypatch.setattr(os, "link", refused)
    keep(spec, tmp_path, shared)
    weights = torch.load(tmp_path / INITIAL, weights_only=True)
    model = initial.build(ELSEWHERE.changed(trainable="bn_only"))
    initial_copy.place(model, weights)
    assert freezing.snapshot(model).digest == digest(spec)


def test_each_taker_of_a_rebuilt_network_has_one_of_its_own(tmp_path) -> None:
    spec = small(trainable="bn_only")
    rebuilt = initial_copy.Rebuilt(spec, digest(spec), tmp_path)
    first = rebuilt.take()
    with torch.no_grad():
        next(first.model.parameters()).zero_()  # as training may
    second = rebuilt.take()
    assert freezing.snapshot(second.model).digest == digest(spec)
