"""The Triton kernel on a real GPU, alone and in a CUDA graph; skips elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_trials import numbers, small

from trainer import checkpoint
from trainer.errors import Stopped
from trainer.kernels import fused_norm
from trainer.learner import Learner
from trainer.train import train

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA device", allow_module_level=True)

from norm_suite import DTYPES, NormSuite, images, norm  # after the skip: it loads Triton

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
]


class TestOnGpu(NormSuite):
    device = "cuda"
    bf16_error = 2**-8


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_recorded_graph_repeats_the_kernel_bit_for_bit(dtype: torch.dtype) -> None:
    y, r, dz = (images(16, 6, 19, "cuda", seed).to(dtype) for seed in (1, 2, 3))
    bn = norm(16, "cuda")
    y.requires_grad_()
    r.requires_grad_()
    wanted = (y, r, bn.weight, bn.bias)

    def step() -> tuple[torch.Tensor, ...]:
        z = fused_norm.fused(bn, y, r, True)
        return z, *torch.autograd.grad(z, wanted, dz)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        eager = step()  # and compiles
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        recorded = step()
    graph.replay()
    for ours, expected in zip(recorded, eager, strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_fused_step_is_recorded_as_a_graph_and_repeats_itself(precision: str) -> None:
    learner = Learner(
        small(trainable="bn_only", precision=precision), torch.device("cuda"), "fused"
    )
    assert learner.record_graph()


def test_a_fused_step_does_not_wait_for_the_device() -> None:
    learner = Learner(small(trainable="bn_only"), torch.device("cuda"), "fused")
    batch = images(3, 64, 8, "cuda")
    labels = torch.arange(64, device="cuda") % 10
    learner.step(batch, labels, 0.1, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner.step(batch, labels, 0.1, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("precision", "gap"), [("fp32", 1e-3), ("bf16", 2e-2)])
def test_a_fused_trial_trains_to_the_stock_losses_and_says_what_computed_it(
    precision, gap, tmp_path, options
) -> None:
    spec = small(trainable="bn_only", lr=0.01, precision=precision)
    stock, ours = (
        train(spec, tmp_path / name, options=replace(options, device="cuda", kernels=name))
        for name in ("stock", "fused")
    )
    assert ours.metrics["train/loss"] == pytest.approx(stock.metrics["train/loss"], rel=gap)
    assert ours.metrics["test/loss"] == pytest.approx(stock.metrics["test/loss"], rel=gap)
    assert "triton" in ours.numerics
    assert "triton" not in stock.numerics


def test_a_fused_trial_resumes_bit_for_bit(tmp_path, options) -> None:
    options = replace(options, device="cuda", kernels="fused")
    spec, asked = small(trainable="bn_only", deterministic=True), iter([False, True])
    whole = train(spec, tmp_path / "whole", options=options)
    with pytest.raises(Stopped):
        train(spec, tmp_path / "1", options=replace(options, poll=lambda: next(asked)))
    resume = checkpoint.find([tmp_path / "1"], spec)
    resumed = train(spec, tmp_path / "2", attempt=2, resume=resume, options=options)
    assert numbers(resumed) == numbers(whole)
    assert resumed.exact
