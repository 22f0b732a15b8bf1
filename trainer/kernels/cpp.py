"""The fused BatchNorm on the CPU: the C++ functions of build.py over torch's tensors.

Sums are taken in an order that does not depend on the thread count.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainer.kernels import build

LANES = 16
_DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def problem(device: torch.device) -> str:  # noqa: ARG001
    """See fused.Backend."""
    return build.problem()


def forward(
    y: Tensor,
    residual: Tensor | None,
    gamma: Tensor,
    beta: Tensor,
    running: tuple[Tensor, Tensor],
    momentum: float,
    eps: float,
    relu: bool,
    keep: bool,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """See fused.Backend. The mask has a bit for each element, in words of 16 channels of a row."""
    channels = y.shape[1]
    z = torch.empty_like(y)
    saved = torch.empty(2, channels)
    mask = None
    if relu and keep:
        words = y.numel() // channels * (-(-channels // LANES))
        mask = torch.empty(words, dtype=torch.int16)
    _call(
        "forward", y, y, residual, gamma, beta, eps, momentum, *running,
        relu, z, mask, *saved.unbind(),
    )  # fmt: skip
    return z, mask, saved


def backward(
    dz: Tensor,
    y: Tensor,
    mask: Tensor | None,
    gamma: Tensor,
    beta: Tensor,  # noqa: ARG001 - the mask is kept here
    saved: Tensor,
    relu: bool,
    need_y: bool,
    need_residual: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    """See fused.Backend."""
    d_gamma, d_beta = torch.empty(2, y.shape[1]).unbind()
    dy = torch.empty_like(y) if need_y else None
    g = torch.empty_like(y) if need_residual and relu else None
    _call("backward", y, dz, y, mask, gamma, *saved.unbind(), g, dy, d_gamma, d_beta)
    return dy, g if relu else dz, d_gamma, d_beta


def apply(
    y: Tensor,
    residual: Tensor | None,
    gamma: Tensor,
    beta: Tensor,
    running: tuple[Tensor, Tensor],
    eps: float,
    relu: bool,
) -> Tensor:
    """See fused.Backend."""
    mean, variance = running
    scale = gamma * torch.rsqrt(variance + eps)
    z = torch.empty_like(y)
    _call("apply", y, y, residual, scale, beta - mean * scale, relu, z)
    return z


def _call(name: str, y: Tensor, *arguments: Any) -> None:
    """Call a function of the kernel on y's rows; tensors become pointers."""
    function = getattr(build.load(), f"{name}_{_DTYPES[y.dtype]}")
    plain = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    function(y.numel() // y.shape[1], y.shape[1], *plain, torch.get_num_threads())
