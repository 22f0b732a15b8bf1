"""Whole trials with the fused kernel and with torch's operators."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_trials import small

from trainer import checkpoint
from trainer.errors import SpecError, Stopped
from trainer.kernels import build, fused_norm
from trainer.results import Result
from trainer.train import Options, train

needs_kernel = pytest.mark.skipif(bool(build.problem()), reason=build.problem() or "-")


def losses(result: Result) -> list[float]:
    return [r.metrics["train/loss"] for r in result.history if "train/loss" in r.metrics]


@needs_kernel
@pytest.mark.parametrize("trainable", ["all", "bn_only", "output_only"])
def test_both_kernels_train_to_the_same_losses(
    trainable: str, tmp_path: Path, options: Options
) -> None:
    spec = small(trainable=trainable, lr=0.01)
    stock, ours = (
        train(spec, tmp_path / name, options=replace(options, kernels=name))
        for name in ("stock", "fused")
    )
    assert losses(ours) == pytest.approx(losses(stock), rel=2e-5)
    assert ours.metrics["test/loss"] == pytest.approx(stock.metrics["test/loss"], rel=1e-4)
    assert (stock.numerics["kernels"], ours.numerics["kernels"]) == ("stock", "fused")


@needs_kernel
def test_a_resume_under_other_kernels_goes_on_and_says_it_is_not_exact(
    tmp_path: Path, options: Options
) -> None:
    spec, asked = small(trainable="bn_only"), iter([False, True])
    begin = replace(options, kernels="fused", poll=lambda: next(asked))
    with pytest.raises(Stopped):
        train(spec, tmp_path / "1", options=begin)
    resume = checkpoint.find([tmp_path / "1"], spec)
    end = replace(options, kernels="stock")
    assert not train(spec, tmp_path / "2", attempt=2, resume=resume, options=end).exact


def test_where_there_is_no_kernel_auto_is_stock_and_fused_is_the_users_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "problem", lambda: "no compiler")
    assert fused_norm.choose("auto", torch.device("cpu")) == "stock"
    with pytest.raises(SpecError, match="no compiler"):
        fused_norm.choose("fused", torch.device("cpu"))


def test_there_is_no_kernel_for_another_device() -> None:
    assert fused_norm.choose("auto", torch.device("meta")) == "stock"
    with pytest.raises(SpecError, match="no kernel for meta"):
        fused_norm.choose("fused", torch.device("meta"))
