"""BatchNorm + residual + ReLU in one kernel, with a backward that keeps less (CPU, optional).

Plain torch is the reference (`reference`) and the fallback. The fused form keeps, for the backward
pass, the convolution's output and one bit for each element; a frozen convolution keeps nothing
but its weight. In `bn_only` that is one tensor for each convolution instead of two or three.
Sums are taken in another order than torch's, so results agree to rounding, not bit for bit: the
choice is recorded in a result's `numerics`.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trainer import kernel
from trainer.errors import SpecError

Kernels = Literal["auto", "stock", "fused"]
DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
LANES = 16


class Norm(nn.BatchNorm2d):
    """BatchNorm together with what follows it in a network: relu(bn(y) + residual)."""

    use_kernel = False

    def forward(self, y: Tensor, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        """y, residual: [N, C, H, W]. Where there is none, the residual is left out."""
        return (fused if self.use_kernel else reference)(self, y, residual, relu)


class Conv(nn.Conv2d):
    """A convolution that keeps no activation for the backward pass if its weight is frozen."""

    use_kernel = False

    def forward(self, x: Tensor) -> Tensor:
        return frozen_conv(self, x) if self.use_kernel else super().forward(x)


def choose(asked: Kernels, device: torch.device) -> Kernels:
    """`stock` or `fused`: what is asked for, or for `auto` the kernel where there is one.

    Raises SpecError where `fused` was asked for and cannot be had.
    """
    if asked == "stock":
        return "stock"
    problem = kernel.problem() if device.type == "cpu" else f"there is no kernel for {device.type}"
    if problem and asked == "fused":
        raise SpecError(f"kernels: fused cannot be had here: {problem}")
    return "stock" if problem else "fused"


def enable(model: nn.Module) -> None:
    """Let every Norm and Conv of `model` use the kernel and the lean backward."""
    for module in model.modules():
        if isinstance(module, Norm | Conv):
            module.use_kernel = True


def reference(bn: nn.BatchNorm2d, y: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    """The same in torch's operators: relu(bn(y) + residual)."""
    z = nn.BatchNorm2d.forward(bn, y)
    if residual is not None:
        z = z + residual
    return F.relu(z, inplace=True) if relu else z


def fused(bn: nn.BatchNorm2d, y: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    """relu(bn(y) + residual) by the kernel where it can, else by the reference.

    The kernel takes dense channels-last images [N, C, H, W] on the CPU, fp32 or bf16, with γ and β
    and running statistics in fp32, and more than one value for each channel.
    """
    if not _fits(bn, y, residual):
        return reference(bn, y, residual, relu)
    if not bn.training:
        if torch.is_grad_enabled() and (y.requires_grad or bn.weight.requires_grad):
            return reference(bn, y, residual, relu)
        return _apply_running(bn, y, residual, relu)
    z: Tensor = _TrainNorm.apply(
        y, bn.weight, bn.bias, residual, bn.running_mean, bn.running_var, bn.momentum, bn.eps, relu
    )
    return z


def frozen_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`conv(x)` for a convolution whose weight does not train: keeps no activation."""
    keeps = torch.is_grad_enabled() and x.requires_grad and not conv.weight.requires_grad
    if not keeps or conv.bias is not None or isinstance(conv.padding, str):
        return nn.Conv2d.forward(conv, x)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), conv.weight.to(dtype)
    else:
        weight = conv.weight
    z: Tensor = _FrozenConv.apply(x, weight, conv.stride, conv.padding, conv.dilation, conv.groups)
    return z


def _fits(bn: nn.BatchNorm2d, y: Tensor, residual: Tensor | None) -> bool:
    return (
        y.device.type == "cpu"
        and y.dtype in DTYPES
        and y.is_contiguous(memory_format=torch.channels_last)
        and y.numel() // y.shape[1] > 1
        and bn.affine
        and bn.running_mean is not None
        and bn.momentum is not None
        and bn.num_batches_tracked is None
        and bn.weight.dtype == torch.float32
        and (residual is None or (residual.dtype == y.dtype and residual.shape == y.shape))
    )


def _dense(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _call(name: str, y: Tensor, *arguments: Any) -> None:
    """Call a function of the kernel on y's rows; tensors become pointers."""
    function = getattr(kernel.load(), f"{name}_{DTYPES[y.dtype]}")
    plain = [_pointer(a) if isinstance(a, Tensor) else a for a in arguments]
    function(y.numel() // y.shape[1], y.shape[1], *plain, torch.get_num_threads())


def _apply_running(bn: nn.BatchNorm2d, y: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    """Normalise by the running statistics (evaluation)."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight.detach() * torch.rsqrt(bn.running_var + bn.eps)
    shift = bn.bias.detach() - bn.running_mean * scale
    z = torch.empty_like(y)
    residual = None if residual is None else _dense(residual)
    _call("apply", y, y, residual, scale, shift, relu, z)
    return z


class _TrainNorm(torch.autograd.Function):
    """relu(BatchNorm in training mode (y) + residual); updates the running statistics."""

    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        gamma: Tensor,
        beta: Tensor,
        residual: Tensor | None,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
        relu: bool,
    ) -> Tensor:
        channels = y.shape[1]
        z = torch.empty_like(y)
        mean, invstd = torch.empty(2, channels).unbind()
        residual = None if residual is None else _dense(residual)
        mask = None
        if relu and any(ctx.needs_input_grad):
            words = y.numel() // channels * (-(-channels // LANES))
            mask = torch.empty(words, dtype=torch.int16)
        running = (running_mean, running_var)
        _call(
            "forward", y, y, residual, gamma, beta, eps, momentum, *running,
            relu, z, mask, mean, invstd,
        )  # fmt: skip
        ctx.save_for_backward(y, mask, gamma, mean, invstd)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        y, mask, gamma, mean, invstd = ctx.saved_tensors
        need_y, need_gamma, need_beta, need_residual = ctx.needs_input_grad[:4]
        dz = _dense(dz)
        d_gamma, d_beta = torch.empty(2, y.shape[1]).unbind()
        dy = torch.empty_like(y) if need_y else None
        # Without a ReLU the residual's gradient is dz itself.
        d_residual = torch.empty_like(y) if need_residual and mask is not None else None
        _call("backward", y, dz, y, mask, gamma, mean, invstd, d_residual, dy, d_gamma, d_beta)
        if need_residual and mask is None:
            d_residual = dz
        rest = (None,) * 5
        return (
            dy,
            d_gamma if need_gamma else None,
            d_beta if need_beta else None,
            d_residual,
            *rest,
        )


class _FrozenConv(torch.autograd.Function):
    """A convolution that keeps its weight alone: torch keeps the input too (pytorch #133566)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.dtype, ctx.device = x.shape, x.dtype, x.device
        ctx.channels_last = x.is_contiguous(memory_format=torch.channels_last)
        ctx.geometry = (stride, padding, dilation, groups)
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x, weight, None, stride, padding, dilation, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[0]:
            return (None,) * 6
        (weight,) = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        layout = torch.channels_last if ctx.channels_last else torch.contiguous_format
        # Only its shape is read; memory that nobody touches costs nothing.
        shape_of_x = torch.empty(
            ctx.shape, dtype=ctx.dtype, device=ctx.device, memory_format=layout
        )
        gradients = torch.ops.aten.convolution_backward(
            dz, shape_of_x, weight, None, stride, padding, dilation,
            False, [0, 0], groups, [True, False, False],
        )  # fmt: skip
        return (gradients[0], None, None, None, None, None)
