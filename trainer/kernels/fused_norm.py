"""BatchNorm + residual + ReLU in one kernel, with a backward that keeps less (optional).

Plain torch is the reference (`reference`) and the fallback. The fused form keeps, for the backward
pass, the convolution's output and a mask of at most a byte for each element; a frozen convolution
keeps nothing but its weight. In `bn_only` that is one tensor for each convolution instead of two
or three. Sums are taken in another order than torch's, so results agree to rounding, not bit for
bit: the choice is recorded in a result's `numerics`. The kernel is C++ on the CPU (cpp.py)
and Triton on a CUDA device (triton_norm.py); both are a `Backend`.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any, Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trainer.errors import SpecError
from trainer.kernels import cpp

Kernels = Literal["auto", "stock", "fused"]
Running = tuple[Tensor, Tensor]
"""The running mean and variance, fp32 [C]."""
DTYPES = (torch.float32, torch.bfloat16)


class Backend(Protocol):
    """A kernel for one kind of device. y, residual, dz: dense channels-last images of one type,
    fp32 or bf16; γ and β: fp32 [C]. All outputs are new tensors, and no call waits for the
    device."""

    def problem(self, device: torch.device) -> str:
        """Why the kernel cannot run on `device`, in one line; empty where it can."""

    def forward(
        self,
        y: Tensor,
        residual: Tensor | None,
        gamma: Tensor,
        beta: Tensor,
        running: Running,
        momentum: float,
        eps: float,
        relu: bool,
        keep: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """relu(bn(y) + residual) by the batch's statistics; moves the running ones.

        With `keep` also what the backward needs: a mask of its own making, if it needs one to know
        what passed the ReLU, and the batch's mean and 1/σ, [2, C].
        """

    def backward(
        self,
        dz: Tensor,
        y: Tensor,
        mask: Tensor | None,
        gamma: Tensor,
        beta: Tensor,
        saved: Tensor,
        relu: bool,
        need_y: bool,
        need_residual: bool,
    ) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
        """The gradients of y and residual, where needed, and of γ and β; `mask` and `saved` are
        the forward's."""

    def apply(
        self,
        y: Tensor,
        residual: Tensor | None,
        gamma: Tensor,
        beta: Tensor,
        running: Running,
        eps: float,
        relu: bool,
    ) -> Tensor:
        """relu(bn(y) + residual) by the running statistics (evaluation)."""


@functools.cache
def backend(kind: str) -> Backend | None:
    """The kernel for a kind of device, `cpu` or `cuda`. Raises ImportError without Triton."""
    if kind == "cuda":  # loaded where it is used: Triton is a compiler, and not in every torch
        return cast(Backend, importlib.import_module("trainer.kernels.triton_norm"))
    return cpp if kind == "cpu" else None


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


def choose(asked: Kernels, device: torch.device, graphs: bool = False) -> Kernels:
    """`stock` or `fused`: what is asked for, or for `auto` the kernel where it was measured to pay:
    on the CPU, and on a GPU in a CUDA graph (`graphs`), where it can be had. Launched one by one,
    Triton's kernels take twice the time of torch's.

    Raises SpecError where `fused` was asked for and cannot be had.
    """
    pays = device.type == "cpu" or (device.type == "cuda" and graphs)
    if asked == "stock" or (asked == "auto" and not pays):
        return "stock"
    problem = _problem(device)
    if problem and asked == "fused":
        raise SpecError(f"kernels: fused cannot be had here: {problem}")
    return "stock" if problem else "fused"


def _problem(device: torch.device) -> str:
    """Why there is no kernel for `device`; empty where there is one."""
    try:
        found = backend(device.type)
    except ImportError as error:
        return f"Triton cannot be imported: {error}"
    return found.problem(device) if found else f"there is no kernel for {device.type}"


def enable(model: nn.Module, use: bool = True) -> None:
    """Let every Norm and Conv of `model` use the kernel and the lean backward, or none."""
    for module in model.modules():
        if isinstance(module, Norm | Conv):
            module.use_kernel = use


def reference(bn: nn.BatchNorm2d, y: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    """The same in torch's operators: relu(bn(y) + residual)."""
    z = nn.BatchNorm2d.forward(bn, y)
    if residual is not None:
        z = z + residual
    return F.relu(z, inplace=True) if relu else z


def fused(bn: nn.BatchNorm2d, y: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    """relu(bn(y) + residual) by the kernel where it can, else by the reference.

    The kernel takes dense channels-last images [N, C, H, W] on the CPU or a CUDA device, fp32 or
    bf16, with γ and β and running statistics in fp32, and more than one value for each channel.
    """
    kind = backend(y.device.type)
    if kind is None or not _fits(bn, y, residual):
        return reference(bn, y, residual, relu)
    residual = None if residual is None else _dense(residual)
    running = cast(Running, (bn.running_mean, bn.running_var))
    if bn.training:
        z: Tensor = _TrainNorm.apply(
            kind, y, bn.weight, bn.bias, residual, running, bn.momentum, bn.eps, relu
        )
        return z
    if torch.is_grad_enabled() and (y.requires_grad or bn.weight.requires_grad):
        return reference(bn, y, residual, relu)
    with torch.no_grad():
        return kind.apply(y, residual, bn.weight, bn.bias, running, bn.eps, relu)


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
        y.dtype in DTYPES
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


class _TrainNorm(torch.autograd.Function):
    """relu(BatchNorm in training mode (y) + residual); updates the running statistics."""

    @staticmethod
    def forward(
        ctx: Any,
        kind: Backend,
        y: Tensor,
        gamma: Tensor,
        beta: Tensor,
        residual: Tensor | None,
        running: Running,
        momentum: float,
        eps: float,
        relu: bool,
    ) -> Tensor:
        keep = any(ctx.needs_input_grad)
        z, mask, saved = kind.forward(y, residual, gamma, beta, running, momentum, eps, relu, keep)
        ctx.kind, ctx.relu = kind, relu
        ctx.save_for_backward(y, mask, gamma, beta, saved)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        y, mask, gamma, beta, saved = ctx.saved_tensors
        _, need_y, need_gamma, need_beta, need_residual = ctx.needs_input_grad[:5]
        dy, d_residual, d_gamma, d_beta = ctx.kind.backward(
            _dense(dz), y, mask, gamma, beta, saved, ctx.relu, need_y, need_residual
        )
        return (
            None,
            dy,
            d_gamma if need_gamma else None,
            d_beta if need_beta else None,
            d_residual if need_residual else None,
            *(None,) * 4,
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
        # Only its shape is read. Memory that nobody touches costs nothing (on a GPU: its bytes, for
        # this call).
        shape_of_x = torch.empty(
            ctx.shape, dtype=ctx.dtype, device=ctx.device, memory_format=layout
        )
        gradients = torch.ops.aten.convolution_backward(
            dz, shape_of_x, weight, None, stride, padding, dilation,
            False, [0, 0], groups, [True, False, False],
        )  # fmt: skip
        return (gradients[0], None, None, None, None, None)
