"""What needs a CUDA device; skips elsewhere."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from small_packs import alone, before_step, bits, pack
from small_trials import numbers, small

from trainer import checkpoint, freezing
from trainer.data import splits
from trainer.errors import Diverged, Stopped
from trainer.learner import Learner
from trainer.packs.pack_training import train_pack
from trainer.packs.streams import Streams
from trainer.train import train
from trainer.weights import initial

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("trainable", "k"), [("all", 0), ("bn_only", 0), ("random_k", 2)])
def test_a_deterministic_run_resumes_bit_for_bit(
    trainable, k, precision, tmp_path, options
) -> None:
    options = replace(options, device="cuda")
    spec = small(trainable=trainable, k=k, precision=precision, deterministic=True)
    whole = train(spec, tmp_path / "whole", options=options)
    steps = itertools.count()
    with pytest.raises(Stopped):
        train(spec, tmp_path / "1", options=replace(options, poll=lambda: next(steps) == 6))
    resume = checkpoint.find([tmp_path / "1"], spec)
    resumed = train(spec, tmp_path / "2", attempt=2, resume=resume, options=options)
    assert numbers(resumed) == numbers(whole)
    assert resumed.exact


def test_the_same_seed_begins_with_the_same_weights_and_nearly_the_same_loss(
    tmp_path, options
) -> None:
    here = train(small(epochs=1), tmp_path / "cpu", options=options)
    there = train(small(epochs=1), tmp_path / "gpu", options=replace(options, device="cuda"))
    assert here.digests["initial"] == there.digests["initial"]
    assert here.digests["initial"] == freezing.snapshot(initial.build(small())).digest
    first = [result.history[0].metrics["test/loss"] for result in (here, there)]
    assert first[0] == pytest.approx(first[1], rel=1e-4)
    losses = [result.metrics["train/loss"] for result in (here, there)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_no_step_waits_for_the_device(tmp_path, options) -> None:
    device, spec = torch.device("cuda"), small()
    batches = splits.load(spec, tmp_path, device).train.batches(1)
    learner = Learner(spec, device)
    learner.step(*next(batches), 0.1, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner.step(*next(batches), 0.1, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


MIXED = [
    small(trainable="all", deterministic=True),
    small(trainable="bn_only", seed=1, lr=0.02, deterministic=True),
    small(trainable="random_k", k=2, init="binary", deterministic=True),
    small(trainable="output_only", optimizer="adam", lr=0.01, deterministic=True),
    small(trainable="nothing", seed=2, deterministic=True),
]


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_members_on_streams_have_the_bits_of_trials_alone(
    precision, graphs, tmp_path, options
) -> None:
    options = replace(options, device="cuda", graphs=graphs)
    specs = [spec.changed(precision=precision) for spec in MIXED]
    outcomes = train_pack(pack(specs, tmp_path), options)
    for number, (spec, outcome) in enumerate(zip(specs, outcomes, strict=True)):
        assert bits(outcome) == alone(spec, tmp_path / f"alone {number}", options)
        assert (outcome.numerics["packed"], outcome.numerics["graph"]) == (len(MIXED), graphs)


@pytest.mark.parametrize("graphs", [False, True])
def test_a_member_that_ends_early_leaves_the_others_on_their_streams(
    graphs, tmp_path, options
) -> None:
    """One diverges, one is stopped within epoch 2 and goes on alone, one finishes."""
    options = replace(options, device="cuda", graphs=graphs)
    specs = [MIXED[0].changed(lr=1e30), *MIXED[1:3]]
    outcomes = train_pack(pack(specs, tmp_path, poll={1: before_step(6)}), options)
    assert [type(outcome) for outcome in outcomes[:2]] == [Diverged, Stopped]
    assert bits(outcomes[2]) == alone(specs[2], tmp_path / "alone 2", options)
    resume = checkpoint.find([tmp_path / "1"], specs[1])
    resumed = train(specs[1], tmp_path / "1b", attempt=2, resume=resume, options=options)
    assert numbers(resumed) == alone(specs[1], tmp_path / "alone 1", options)
    assert resumed.exact


def test_turns_on_streams_do_not_wait_for_the_device(tmp_path, options) -> None:
    running = Streams(
        dict(enumerate(pack(MIXED, tmp_path))), replace(options, device="cuda", graphs=True)
    )
    for index in running.members:
        with running.alone(index):
            running.trials[index] = running.build(index)
    running.turns = {index: trial.steps() for index, trial in running.trials.items()}
    for index in running.trials:
        running._take_turn(index)  # the record before training waits
    torch.cuda.set_sync_debug_mode("error")
    try:
        for index in running.trials:
            running._take_turn(index)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not running.outcomes
