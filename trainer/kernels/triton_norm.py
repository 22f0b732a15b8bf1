"""The fused BatchNorm on a CUDA device, in Triton: the sibling of the C++ kernel.

On an H200 it passes the suite of the C++ kernel, and in a CUDA graph it is faster than torch's own;
the sizes below are reasoned, not tuned. Nothing here waits for the device or depends on the data:
it can be recorded in a CUDA graph, once the programs of its shapes have been compiled by an earlier
step.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer.kernels import triton_programs as programs

TILE = 4096
"""Elements that a program holds at a time, 16 for each thread of its 8 warps."""
WARPS = 8
MOST_CHANNELS = 64
"""Channels of a tile: a row of a tile is then 128 bytes of bf16, a line of the cache."""
MOST_PARTS = 256


class Tiling(NamedTuple):
    """How [rows, channels] is cut: see kernel_programs."""

    channels: int
    block_rows: int
    block_channels: int
    chunk: int
    parts: int

    @property
    def grid(self) -> tuple[int, int]:
        return self.parts, _ceil(self.channels, self.block_channels)


@functools.cache
def tiling(rows: int, channels: int, summed: bool = True) -> Tiling:
    """Parts of whole tiles, none of them empty: about √rows / 2 where there is something to sum.

    For each channel a program then reads rows / parts values of y, of 2 or 4 bytes, and the sums of
    all parts, of 8 bytes: the first falls and the second grows with the number of parts.
    """
    block_channels = min(MOST_CHANNELS, _power_of_two(channels))
    block_rows = TILE // block_channels
    tiles = _ceil(rows, block_rows)
    wanted = max(1, min(tiles, MOST_PARTS, math.isqrt(rows) // 2)) if summed else tiles
    chunk = _ceil(tiles, wanted) * block_rows
    return Tiling(channels, block_rows, block_channels, chunk, _ceil(rows, chunk))


def problem(device: torch.device) -> str:
    """Why the kernel cannot run on `device`, in one line; empty where it can. Runs it once: Triton
    needs a driver, an assembler and a C compiler, and says so only then."""
    try:
        y = torch.ones(2, 16, 1, 1, device=device)
        ones = torch.ones(16, device=device)
        apply(y, None, ones, ones, (ones, ones), eps=1e-5, relu=True)
    except Exception as error:  # whatever the compiler, the driver or the launch raises
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"Triton cannot run here: {first}"
    return ""


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
    """See fused.Backend. The mask has a byte for each element, and there is one only behind a
    residual: without it the backward computes the sign once more."""
    rows, cut = _cut(y)
    part = y.new_empty(2, cut.parts, cut.channels, dtype=torch.float32)
    saved = y.new_empty(2, cut.channels, dtype=torch.float32)
    z = torch.empty_like(y)
    mask = torch.empty_like(y, dtype=torch.int8) if relu and keep and residual is not None else None
    _launch(programs.moments, cut, y, part, rows, cut.chunk)
    _launch(
        programs.normalise, cut, y, residual, gamma, beta, *running, part, saved, z, mask,
        rows, cut.chunk, eps, momentum, RESIDUAL=residual is not None, RELU=_relu(relu, mask),
    )  # fmt: skip
    return z, mask, saved


def backward(
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
    """See fused.Backend."""
    rows, cut = _cut(y)
    part = y.new_empty(2, cut.parts, cut.channels, dtype=torch.float32)
    g = torch.empty_like(y) if need_residual and relu else None
    how = _relu(relu, mask)
    _launch(
        programs.gradient_sums, cut, dz, y, mask, gamma, beta, saved, g, part,
        rows, cut.chunk, RELU=how, KEEP=g is not None,
    )  # fmt: skip
    dy = torch.empty_like(y) if need_y else None
    d_affine = torch.empty_like(saved)
    if g is not None:  # already behind the ReLU
        dz, how = g, programs.NO.value
    launched = cut if need_y else cut._replace(parts=1)  # then only the sums are wanted
    _launch(
        programs.gradients, launched, dz, y, mask, gamma, beta, saved, part, cut.parts,
        dy, d_affine, rows, cut.chunk, RELU=how, INPUT=need_y,
    )  # fmt: skip
    return dy, g if relu else dz, d_affine[0], d_affine[1]


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
    rows, cut = _cut(y, summed=False)
    z = torch.empty_like(y)
    _launch(
        programs.normalise_by_running, cut, y, residual, gamma, beta, *running, z,
        rows, cut.chunk, eps, RESIDUAL=residual is not None, RELU=_relu(relu, None),
    )  # fmt: skip
    return z


def _cut(y: Tensor, summed: bool = True) -> tuple[int, Tiling]:
    """The count of y's rows, and how they are cut."""
    rows = y.numel() // y.shape[1]
    return rows, tiling(rows, y.shape[1], summed)


def _relu(relu: bool, mask: Tensor | None) -> int:
    how = programs.NO if not relu else programs.SIGN if mask is None else programs.MASK
    return int(how.value)


def _launch(program: Any, cut: Tiling, y: Tensor, *arguments: Any, **constants: Any) -> None:
    """Start a program on y's device, which need not be the current one."""
    constants |= {
        "CHANNELS": cut.channels,
        "BLOCK_ROWS": cut.block_rows,
        "BLOCK_CHANNELS": cut.block_channels,
    }
    with torch.cuda.device_of(y):  # type: ignore[no-untyped-call]
        program[cut.grid](y, *arguments, **constants, num_warps=WARPS)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
