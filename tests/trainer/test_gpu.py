"""What needs a CUDA device; skips elsewhere."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from small_trials import numbers, small

from trainer import checkpoint, data, freezing, models
from trainer.errors import Stopped
from trainer.learner import Learner
from trainer.train import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
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
    assert here.digests["initial"] == freezing.snapshot(models.build(small())).digest
    first = [result.history[0].metrics["test/loss"] for result in (here, there)]
    assert first[0] == pytest.approx(first[1], rel=1e-4)
    losses = [result.metrics["train/loss"] for result in (here, there)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_no_step_waits_for_the_device(tmp_path, options) -> None:
    device, spec = torch.device("cuda"), small()
    batches = data.load(spec, tmp_path, device).train.batches(1)
    learner = Learner(spec, device)
    learner.step(*next(batches), 0.1, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner.step(*next(batches), 0.1, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
