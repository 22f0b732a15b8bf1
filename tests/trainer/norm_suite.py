"""What every GPU kernel of the fused BatchNorm must do, on whatever device it runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from small_trials import small
from torch import Tensor

from trainer.kernels import fused_norm
from trainer.learner import Learner

kernel_triton = pytest.importorskip("trainer.kernels.triton_norm", reason="needs Triton")

NEAR_ZERO = 1e-4
DTYPES = [torch.float32, torch.bfloat16]
FORMS = list(itertools.product([False, True], [False, True]))
"""Residual, ReLU."""
SHAPES = [(16, 6, 5), (32, 3, 7), (64, 2, 4), (24, 4, 8), (40, 4, 3), (1, 6, 5), (130, 2, 4)]
"""Channels, images, side: usual and odd channels, three blocks of them."""


@dataclass
class Sample:
    """Inputs [N, C, side, side] of one BatchNorm, its parameters, and the gradient of its output.

    That is 0 where the ReLU's input is nearly 0: there rounding decides which side an element is
    on, and with it the whole of its gradient.
    """

    y: Tensor
    residual: Tensor | None
    relu: bool
    dz: Tensor

    def run(self, form: str, dtype: torch.dtype) -> dict[str, Tensor]:
        """All that a forward and a backward give, in fp64; `form`: reference or fused."""
        bn = norm(self.y.shape[1], self.y.device)
        bn = bn.double() if dtype == torch.float64 else bn
        y, residual, dz = (
            None if t is None else t.detach().to(dtype).requires_grad_()
            for t in (self.y, self.residual, self.dz)
        )
        z = getattr(fused_norm, form)(bn, y, residual, self.relu)
        z.backward(dz)
        found = {"z": z, "dy": y.grad, "dgamma": bn.weight.grad, "dbeta": bn.bias.grad}
        found |= {"mean": bn.running_mean, "variance": bn.running_var}
        if residual is not None:
            found["dresidual"] = residual.grad
        return {name: tensor.detach().double() for name, tensor in found.items()}


def norm(channels: int, device: Any) -> fused_norm.Norm:
    draw = torch.Generator().manual_seed(0)
    bn = fused_norm.Norm(channels)
    bn.num_batches_tracked = None
    bn.weight.data = torch.rand(channels, generator=draw) + 0.1
    bn.bias.data = torch.randn(channels, generator=draw)
    bn.running_mean = torch.randn(channels, generator=draw)
    bn.running_var = torch.rand(channels, generator=draw) + 0.5
    return bn.to(device)


def images(channels: int, count: int, side: int, device: Any, seed: int = 1) -> Tensor:
    """Values that bf16 can hold, so that all precisions begin with the same."""
    draw = torch.Generator().manual_seed(seed)
    values = 2 * torch.randn(count, channels, side, side, generator=draw) + 3 * (seed == 1)
    return values.bfloat16().float().contiguous(memory_format=torch.channels_last).to(device)


def sample(shape: tuple[int, int, int], residual: bool, relu: bool, device: Any) -> Sample:
    y, r, dz = (images(*shape, device, seed) for seed in (1, 2, 3))
    found = Sample(y, r if residual else None, relu, dz)
    before_relu = Sample(y, found.residual, False, dz).run("reference", torch.float64)["z"]
    found.dz = torch.where(before_relu.abs() < NEAR_ZERO, torch.zeros_like(dz), dz)
    return found


def assert_near(found: Tensor, exact: Tensor, name: str, share: float, ulp: float = 0.0) -> None:
    """Within `share` of the tensor's largest value, and `ulp` of each value."""
    allowed = share * exact.abs().max() + ulp * exact.abs()
    assert ((found - exact).abs() <= allowed).all(), name


class NormSuite:
    """A subclass says where: there `fused` must use the kernel under test."""

    device: ClassVar[str]
    bf16_error: ClassVar[float]
    """The largest relative error of a number rounded to bf16."""

    @pytest.fixture(autouse=True)
    def _fresh_tilings(self) -> Iterator[None]:
        kernel_triton.tiling.cache_clear()
        yield
        kernel_triton.tiling.cache_clear()

    def compare(self, given: Sample, dtype: torch.dtype) -> None:
        """With the truth: the same inputs, all arithmetic in fp64."""
        exact, found = given.run("reference", torch.float64), given.run("fused", dtype)
        assert found.keys() == exact.keys()
        for name in exact:
            rounded = dtype == torch.bfloat16 and name in ("z", "dy")
            ulp = self.bf16_error if rounded else 0.0
            assert_near(found[name], exact[name], name, 1e-5, ulp)
        if "dresidual" in exact:
            assert torch.equal(found["dresidual"], exact["dresidual"])

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize(("residual", "relu"), FORMS)
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_outputs_gradients_and_statistics_are_those_of_exact_arithmetic(
        self, shape, residual, relu, dtype
    ) -> None:
        self.compare(sample(shape, residual, relu, self.device), dtype)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_one_image_of_four_pixels_is_enough(self, dtype) -> None:
        self.compare(sample((16, 1, 2), True, True, self.device), dtype)

    @pytest.mark.parametrize(("dtype", "residual"), [(DTYPES[0], True), (DTYPES[1], False)])
    def test_many_rows_make_many_parts_of_several_tiles(self, dtype, residual) -> None:
        cut = kernel_triton.tiling(6 * 19 * 19, 64)
        assert cut.parts > 8
        assert cut.chunk > cut.block_rows
        self.compare(sample((64, 6, 19), residual, True, self.device), dtype)

    def test_more_parts_than_rows_of_a_tile_are_summed_too(self, monkeypatch) -> None:
        monkeypatch.setattr(kernel_triton, "TILE", 64)
        cut = kernel_triton.tiling(6 * 6 * 6, 16)
        assert cut.parts > cut.block_rows
        self.compare(sample((16, 6, 6), True, True, self.device), torch.float32)

    def test_the_same_inputs_give_the_same_bits(self) -> None:
        given = sample((64, 3, 13), True, True, self.device)
        first, second = (given.run("fused", torch.float32) for _ in range(2))
        for name in first:
            assert torch.equal(first[name], second[name]), name

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_what_is_not_finite_spreads_over_its_channel_and_no_further_as_in_torch(
        self, dtype, value
    ) -> None:
        for where in ("y", "dz"):
            given = sample((17, 4, 4), True, True, self.device)
            # at a value that passes the ReLU
            z = given.run("reference", torch.float64)["z"][:, 1]
            n, h, w = (int(i) for i in (z > 0.5).nonzero()[0])
            getattr(given, where)[n, 1, h, w] = value
            exact, found = given.run("reference", torch.float32), given.run("fused", dtype)
            for name in exact:
                assert torch.equal(found[name].isfinite(), exact[name].isfinite()), (where, name)
            assert not found["dy"][:, 1].isfinite().any()
            assert found["dy"][:, 0].isfinite().all()

    def test_a_large_mean_does_not_spoil_the_variance(self) -> None:
        y = images(16, 8, 8, self.device) + 1000
        z = fused_norm.fused(norm(16, self.device), y, None, False)
        exact = fused_norm.reference(norm(16, self.device).double(), y.double(), None, False)
        assert (z - exact).abs().max() < 1e-3

    @pytest.mark.parametrize("value", [0.0, 0.1, 1000.0])
    def test_a_channel_of_equal_values_has_no_variance(self, value) -> None:
        bn = norm(16, self.device)
        before = bn.running_var.clone()
        z = fused_norm.fused(bn, torch.full_like(images(16, 8, 8, self.device), value), None, False)
        torch.testing.assert_close(bn.running_var, 0.9 * before, rtol=1e-5, atol=1e-5)
        expected = bn.bias.detach()[:, None, None].expand_as(z[0])
        torch.testing.assert_close(z[0], expected, rtol=0, atol=0.1 if value == 1000 else 1e-3)

    def test_first_rows_unlike_the_others_do_not_spoil_the_variance(self) -> None:
        y = images(16, 8, 8, self.device)
        y[0] = 100.0
        exact = fused_norm.reference(norm(16, self.device).double(), y.double(), None, False)
        z = fused_norm.fused(norm(16, self.device), y, None, False)
        torch.testing.assert_close(z.double(), exact, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize(("residual", "relu"), FORMS)
    def test_evaluation_uses_the_running_statistics_and_leaves_them(
        self, residual, relu, dtype
    ) -> None:
        bn, y = norm(24, self.device).eval(), images(24, 3, 16, self.device)
        r = images(24, 3, 16, self.device, 2) if residual else None
        before = bn.running_mean.clone(), bn.running_var.clone()
        with torch.inference_mode():
            given = y.to(dtype), None if r is None else r.to(dtype)
            z = fused_norm.fused(bn, *given, relu).double()
            wide = y.double(), None if r is None else r.double()
            exact = fused_norm.reference(norm(24, self.device).double().eval(), *wide, relu)
        assert_near(z, exact, "z", 1e-6, self.bf16_error if dtype == torch.bfloat16 else 0.0)
        assert torch.equal(bn.running_mean, before[0])
        assert torch.equal(bn.running_var, before[1])

    @pytest.mark.parametrize(("gamma", "beta", "below"), [*itertools.product([0, 1], repeat=3)])
    def test_only_what_trains_gets_a_gradient(self, gamma, beta, below) -> None:
        bn, y = norm(16, self.device), images(16, 6, 5, self.device).requires_grad_(bool(below))
        bn.weight.requires_grad_(bool(gamma))
        bn.bias.requires_grad_(bool(beta))
        z = fused_norm.fused(bn, y, None, True)
        assert z.requires_grad == bool(gamma or beta or below)
        exact = fused_norm.reference(norm(16, self.device), y.detach(), None, True)
        assert_near(z.detach(), exact.detach(), "z", 1e-5)
        if z.requires_grad:
            z.square().sum().backward()
        assert [t.grad is not None for t in (bn.weight, bn.bias, y)] == [gamma, beta, below]

    def test_the_gradients_of_gamma_and_beta_do_not_depend_on_what_lies_below(self) -> None:
        given = sample((16, 6, 5), False, True, self.device)
        whole, bn = given.run("fused", torch.float32), norm(16, self.device)
        fused_norm.fused(bn, given.y, None, True).backward(given.dz)
        assert torch.equal(bn.weight.grad.double(), whole["dgamma"])
        assert torch.equal(bn.bias.grad.double(), whole["dbeta"])

    @pytest.mark.parametrize("trainable", ["all", "bn_only"])
    def test_a_step_of_a_small_network_is_stock_torchs_to_rounding(self, trainable) -> None:
        spec = small(trainable=trainable)
        batch = torch.randn(16, 3, 8, 8, generator=torch.manual_seed(1))
        batch = batch.contiguous(memory_format=torch.channels_last).to(self.device)
        labels = torch.arange(16, device=self.device) % 10
        found = []
        for kernels in ("stock", "fused"):
            learner = Learner(spec, torch.device(self.device), kernels)
            learner.model.train()
            loss, _, gradient = learner.differentiate(batch, labels)
            learner.model.eval()
            with torch.inference_mode():
                logits = learner.forward(batch)
            found.append((loss, gradient, learner.flat.statistics, logits))
        for name, stock, ours in zip(
            ("loss", "gradient", "statistics", "logits"), *found, strict=True
        ):
            gap = (ours.double() - stock.double()).norm() / stock.double().norm()
            assert gap < 1e-4, (name, float(gap))
