"""The fused kernel against torch's own operators."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from trainer.kernels import build, fused_norm

pytestmark = pytest.mark.skipif(
    bool(build.problem()), reason=f"no kernel on this machine: {build.problem()}"
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def norm(channels: int) -> fused_norm.Norm:
    bn = fused_norm.Norm(channels)
    bn.num_batches_tracked = None
    bn.weight.data = torch.rand(channels, generator=torch.manual_seed(0)) + 0.1
    bn.bias.data = torch.randn(channels)
    return bn


def images(channels: int, seed: int, dtype: torch.dtype = torch.float32, side: int = 5) -> Tensor:
    values = torch.randn(6, channels, side, side, generator=torch.manual_seed(seed))
    scaled = (2 * values + 3 * (seed == 1)).to(dtype)
    return scaled.contiguous(memory_format=torch.channels_last).requires_grad_()


def outcome(
    form: str,
    channels: int,
    dtype: torch.dtype = torch.float32,
    residual: bool = False,
    relu: bool = True,
) -> dict[str, Tensor]:
    """All that a forward and a backward give."""
    bn, y = norm(channels), images(channels, 1, dtype)
    r = images(channels, 2, dtype) if residual else None
    z = getattr(fused_norm, form)(bn, y, r, relu)
    z.backward(images(channels, 3, dtype).detach())
    found = {"z": z.detach(), "dy": y.grad, "dgamma": bn.weight.grad, "dbeta": bn.bias.grad}
    found |= {"mean": bn.running_mean, "variance": bn.running_var}
    if r is not None:
        found["dresidual"] = r.grad
    return {name: tensor for name, tensor in found.items() if tensor is not None}


FORMS = list(itertools.product([1, 3, 16, 17, 40, 512], [False, True], [False, True]))


@pytest.mark.parametrize(("channels", "residual", "relu"), FORMS)
def test_outputs_gradients_and_statistics_equal_torch_in_fp32(
    channels: int, residual: bool, relu: bool
) -> None:
    expected = outcome("reference", channels, residual=residual, relu=relu)
    found = outcome("fused", channels, residual=residual, relu=relu)
    assert found.keys() == expected.keys()
    for name in expected:
        gap = (found[name] - expected[name]).abs().max()
        assert gap <= 3e-6 * expected[name].abs().max(), name


@pytest.mark.parametrize(("channels", "residual", "relu"), FORMS)
def test_bf16_is_as_near_to_the_truth_as_torch_is(
    channels: int, residual: bool, relu: bool
) -> None:
    """The truth: the same bf16 inputs, all arithmetic in fp64."""
    truth = in_fp64(channels, residual, relu)
    ours = outcome("fused", channels, torch.bfloat16, residual, relu)
    stock = outcome("reference", channels, torch.bfloat16, residual, relu)
    for name, exact in truth.items():
        our_error = (ours[name].double() - exact).norm()
        assert our_error <= 1.05 * (stock[name].double() - exact).norm() + 1e-5 * exact.norm(), name


def in_fp64(channels: int, residual: bool, relu: bool) -> dict[str, Tensor]:
    bn = norm(channels).double()
    y, r, dz = (images(channels, seed, torch.bfloat16).double().detach() for seed in (1, 2, 3))
    y.requires_grad_()
    r.requires_grad_()
    z = fused_norm.reference(bn, y, r if residual else None, relu)
    z.backward(dz)
    found = {"z": z.detach(), "dy": y.grad, "dgamma": bn.weight.grad, "dbeta": bn.bias.grad}
    found |= {"dresidual": r.grad} if residual else {}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def test_the_number_of_threads_does_not_change_a_bit() -> None:
    alone = outcome("fused", 40, residual=True)
    torch.set_num_threads(2)
    together = outcome("fused", 40, residual=True)
    for name in alone:
        assert torch.equal(alone[name], together[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [16, 17])
def test_a_nan_spreads_over_its_channel_and_no_further_as_in_torch(
    channels: int, dtype: torch.dtype
) -> None:
    found = []
    for form in ("reference", "fused"):
        bn, y = norm(channels), images(channels, 1, dtype).detach()
        y[2, 1, 3, 3] = float("nan")
        z = getattr(fused_norm, form)(bn, y.requires_grad_(), None, True)
        z.sum().backward()
        assert y.grad is not None
        found.append([z.isnan(), y.grad.isnan(), bn.running_mean.isnan(), bn.weight.grad.isnan()])
    for expected, ours in zip(*found, strict=True):
        assert torch.equal(ours, expected)
    assert found[1][0][:, 1].all()
    assert not found[1][0][:, 0].any()


def test_a_large_mean_does_not_spoil_the_variance() -> None:
    y = torch.randn(32, 16, 8, 8).contiguous(memory_format=torch.channels_last) + 1000
    z = fused_norm.fused(norm(16), y, None, False)
    bn = norm(16).double()
    torch.testing.assert_close(
        z.double(), fused_norm.reference(bn, y.double(), None, False), rtol=0, atol=2e-3
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 50.0])
def test_a_channel_of_equal_values_has_no_variance(value: float) -> None:
    bn, y = (
        norm(16),
        torch.full((32, 16, 8, 8), value).contiguous(memory_format=torch.channels_last),
    )
    z = fused_norm.fused(bn, y, None, False)
    assert bn.running_var is not None
    torch.testing.assert_close(bn.running_var, torch.full((16,), 0.9), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(z[0, :, 0, 0], bn.bias, rtol=0, atol=1e-2)


def test_first_rows_unlike_the_others_do_not_spoil_the_variance() -> None:
    y = torch.randn(32, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    y[:, :, 0] = 100.0  # as the border of a padded image
    exact = fused_norm.reference(norm(16).double(), y.double(), None, False)
    z = fused_norm.fused(norm(16), y, None, False)
    torch.testing.assert_close(z.double(), exact, rtol=1e-5, atol=1e-5)


def test_evaluation_uses_the_running_statistics_and_leaves_them() -> None:
    bn, y, r = norm(17), images(17, 1).detach(), images(17, 2).detach()
    bn.running_mean, bn.running_var = torch.randn(17), torch.rand(17) + 0.5
    before = bn.running_mean.clone()
    with torch.inference_mode():
        bn.eval()
        torch.testing.assert_close(
            fused_norm.fused(bn, y, r, True),
            fused_norm.reference(bn, y, r, True),
            rtol=1e-5,
            atol=1e-5,
        )
    assert torch.equal(bn.running_mean, before)


@pytest.mark.parametrize("gamma", [False, True])
@pytest.mark.parametrize("beta", [False, True])
@pytest.mark.parametrize("below", [False, True])
def test_only_what_trains_gets_a_gradient(gamma: bool, beta: bool, below: bool) -> None:
    if not (gamma or beta or below):
        return
    bn, y = norm(16), images(16, 1).detach().requires_grad_(below)
    bn.weight.requires_grad_(gamma)
    bn.bias.requires_grad_(beta)
    fused_norm.fused(bn, y, None, True).sum().backward()
    assert [t.grad is not None for t in (bn.weight, bn.bias, y)] == [gamma, beta, below]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (3, 2), (1, 2)])
def test_a_frozen_convolution_passes_the_same_gradient_on(
    dtype: torch.dtype, kernel_size: int, stride: int
) -> None:
    conv = fused_norm.Conv(16, 32, kernel_size, stride, kernel_size // 2, bias=False, dtype=dtype)
    conv.weight.requires_grad_(False)
    gradients = []
    for use_kernel in (False, True):
        conv.use_kernel = use_kernel
        x = images(16, 1, dtype, side=8)
        z = conv(x)
        z.backward(torch.ones_like(z))
        gradients.append((z.detach(), x.grad))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)


def test_a_training_convolution_and_one_with_a_bias_stay_torchs() -> None:
    conv = fused_norm.Conv(3, 8, 3)
    conv.use_kernel = True
    conv(images(3, 1)).sum().backward()
    assert conv.weight.grad is not None
    assert conv.bias is not None
    assert conv.bias.grad is not None


class Block(nn.Module):
    """conv, BN, ReLU, conv, BN, + input, ReLU; the convolutions frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            fused_norm.Conv(16, 16, 3, padding=1, bias=False) for _ in range(2)
        )
        self.norms = nn.ModuleList(norm(16) for _ in range(2))
        self.convs.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norms[0](self.convs[0](x), relu=True)
        return self.norms[1](self.convs[1](h), residual=x, relu=True)


def saved_elements(block: Block, x: Tensor) -> int:
    """fp32 elements of the activations that the graph keeps (a tensor kept twice counts once)."""
    kept: dict[int, int] = {}
    weights = {parameter.data_ptr() for parameter in block.parameters()}

    def note(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights and tensor.numel() > 32:  # 32: the channels' statistics
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        block(x)
    return sum(kept.values()) // 4


def test_one_tensor_is_kept_for_each_frozen_convolution() -> None:
    torch.manual_seed(0)
    block, x = Block(), images(16, 1, side=16)
    stock = saved_elements(block, x)
    fused_norm.enable(block)
    lean = saved_elements(block, x)
    masks = 2 * x.numel() // 32  # a bit for each element
    assert lean == 2 * x.numel() + masks
    assert stock > 1.9 * lean


def test_a_lean_block_trains_as_torchs_does() -> None:
    gradients = []
    for use_kernel in (False, True):
        torch.manual_seed(0)
        block, x = Block().to(memory_format=torch.channels_last), images(16, 1, side=16)
        if use_kernel:
            fused_norm.enable(block)
        block(x).square().sum().backward()
        gradients.append([x.grad, *(bn.weight.grad for bn in block.norms)])
    for ours, stock in zip(gradients[1], gradients[0], strict=True):
        assert (ours - stock).abs().max() <= 1e-5 * stock.abs().max()


@pytest.mark.parametrize(
    "y",
    [
        torch.randn(4, 16, 5, 5),
        torch.randn(4, 16, 5, 5).double(),
        torch.randn(4, 16, 5, 5).half().contiguous(memory_format=torch.channels_last),
    ],
    ids=["channels first", "fp64", "fp16"],
)
def test_what_the_kernel_does_not_take_goes_to_torch(y: Tensor) -> None:
    ours, stock = norm(16).to(y.dtype), norm(16).to(y.dtype)
    assert torch.equal(
        fused_norm.fused(ours, y, None, True), fused_norm.reference(stock, y, None, True)
    )


def test_one_value_for_a_channel_is_the_same_error_as_in_torch() -> None:
    y = torch.randn(1, 16, 1, 1).contiguous(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        fused_norm.fused(norm(16), y, None, True)
