"""The Triton programs of triton_norm.py: BatchNorm + residual + ReLU over dense [rows, channels].

A program works on one part of the rows (`chunk` of them, the last part may be shorter) and on one
block of channels, a tile of [BLOCK_ROWS, BLOCK_CHANNELS] at a time. Sums over all rows take two
stages: each program writes its part's sums, and each program of the next launch adds up the parts
of its channels, all in the same order. So there are no atomics and no third launch, and the bits
depend on the shape alone. All sums are fp32.

`saved` is [2, channels]: the batch's mean and 1/σ. `part` is [2, parts, channels]. RELU is NO,
MASK (a byte for each element says what passed), or SIGN (the backward computes it once more).
"""

from __future__ import annotations

import triton
import triton.language as tl

NO, MASK, SIGN = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
_OF_THE_SHAPE = ["rows", "chunk", "parts"]  # one program for all of their values: see `jit`


@triton.jit
def _channels(CHANNELS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr):
    """This program's channels, and which of them exist."""
    channel = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    return channel, channel < CHANNELS


@triton.jit
def _rows(rows, chunk, CHANNELS: tl.constexpr):
    """This program's first element (64 bits: there may be more than 2^31) and count of rows."""
    begin = tl.program_id(0).to(tl.int64) * chunk
    return begin * CHANNELS, tl.minimum(rows - begin, chunk).to(tl.int32)


@triton.jit
def _tile(first, count, channel, there, CHANNELS: tl.constexpr, BLOCK_ROWS: tl.constexpr):
    """Places of rows `first` and following in [count, CHANNELS], and which of them exist."""
    row = first + tl.arange(0, BLOCK_ROWS)
    place = row[:, None] * CHANNELS + channel[None, :]
    return place, (row < count)[:, None] & there[None, :]


@triton.jit
def _read(at, valid):
    return tl.load(at, mask=valid, other=0.0).to(tl.float32)


# --- forward ------------------------------------------------------------------------------------


@triton.jit(do_not_specialize=_OF_THE_SHAPE)
def moments(
    y, part, rows, chunk,
    CHANNELS: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr,
):  # fmt: skip
    """Each channel's mean and sum of squared deviations in this part of y.

    Welford's update in each place of the tile, then the places' moments about their common mean: no
    difference of large numbers anywhere.
    """
    channel, there = _channels(CHANNELS, BLOCK_CHANNELS)
    start, count = _rows(rows, chunk, CHANNELS)
    mean = tl.zeros([BLOCK_ROWS, BLOCK_CHANNELS], tl.float32)
    m2 = tl.zeros([BLOCK_ROWS, BLOCK_CHANNELS], tl.float32)
    for first in range(0, count, BLOCK_ROWS):
        place, valid = _tile(first, count, channel, there, CHANNELS, BLOCK_ROWS)
        value = _read(y + start + place, valid)
        delta = tl.where(valid, value - mean, 0.0)
        mean += delta * (1.0 / (first // BLOCK_ROWS + 1))
        m2 += delta * (value - mean)
    seen = (count - tl.arange(0, BLOCK_ROWS) + BLOCK_ROWS - 1) // BLOCK_ROWS
    weight = seen.to(tl.float32)[:, None]
    common = tl.sum(weight * mean, 0) / count
    away = mean - common[None, :]
    to = part + tl.program_id(0) * CHANNELS + channel
    tl.store(to, common, mask=there)
    to += tl.num_programs(0) * CHANNELS
    tl.store(to, tl.sum(m2 + weight * away * away, 0), mask=there)


@triton.jit
def _merged_moments(
    part, rows, chunk, channel, there,
    CHANNELS: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr,
):  # fmt: skip
    """Mean and biased variance of each channel over all rows, from the parts' moments."""
    parts = tl.num_programs(0)
    total = tl.zeros([BLOCK_ROWS, BLOCK_CHANNELS], tl.float32)
    for first in range(0, parts, BLOCK_ROWS):
        place, valid = _tile(first, parts, channel, there, CHANNELS, BLOCK_ROWS)
        before = (first + tl.arange(0, BLOCK_ROWS)) * chunk
        weight = tl.minimum(rows - before, chunk).to(tl.float32)[:, None]
        total += weight * _read(part + place, valid)
    mean = tl.sum(total, 0) / rows
    total = tl.zeros([BLOCK_ROWS, BLOCK_CHANNELS], tl.float32)
    for first in range(0, parts, BLOCK_ROWS):
        place, valid = _tile(first, parts, channel, there, CHANNELS, BLOCK_ROWS)
        before = (first + tl.arange(0, BLOCK_ROWS)) * chunk
        weight = tl.minimum(rows - before, chunk).to(tl.float32)[:, None]
        away = _read(part + place, valid) - mean[None, :]
        m2 = _read(part + parts * CHANNELS + place, valid)
        total += tl.where(valid, m2 + weight * away * away, 0.0)
    return mean, tl.sum(total, 0) / rows


@triton.jit
def _write(
    y, residual, z, mask, start, count, channel, there, mean, scale, shift,
    CHANNELS: tl.constexpr, BLOCK_ROWS: tl.constexpr, RESIDUAL: tl.constexpr, RELU: tl.constexpr,
):  # fmt: skip
    """z = relu((y − mean)·scale + shift + residual) in this part; the mask where it is kept."""
    for first in range(0, count, BLOCK_ROWS):
        place, valid = _tile(first, count, channel, there, CHANNELS, BLOCK_ROWS)
        value = _read(y + start + place, valid) - mean[None, :]
        value = value * scale[None, :] + shift[None, :]
        if RESIDUAL:
            value += _read(residual + start + place, valid)
        if RELU != NO:
            stopped = value <= 0.0  # false for a NaN, which therefore passes, as in torch
            value = tl.where(stopped, 0.0, value)
            if RELU == MASK:
                tl.store(mask + start + place, tl.where(stopped, 0, 1).to(tl.int8), mask=valid)
        tl.store(z + start + place, value.to(z.dtype.element_ty), mask=valid)


@triton.jit(do_not_specialize=_OF_THE_SHAPE)
def normalise(
    y, residual, gamma, beta, running_mean, running_var, part, saved, z, mask,
    rows, chunk, eps, momentum,
    CHANNELS: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr,
    RESIDUAL: tl.constexpr, RELU: tl.constexpr,
):  # fmt: skip
    """z by the batch's statistics, merged from `part`.

    The first part's programs save these and move the running ones: as in torch the batch is
    normalised by the biased variance, the running one is unbiased.
    """
    channel, there = _channels(CHANNELS, BLOCK_CHANNELS)
    mean, variance = _merged_moments(
        part, rows, chunk, channel, there, CHANNELS, BLOCK_ROWS, BLOCK_CHANNELS
    )
    invstd = tl.rsqrt(variance + eps)
    if tl.program_id(0) == 0:
        tl.store(saved + channel, mean, mask=there)
        tl.store(saved + CHANNELS + channel, invstd, mask=there)
        old = _read(running_mean + channel, there)
        tl.store(running_mean + channel, old + momentum * (mean - old), mask=there)
        old = _read(running_var + channel, there)
        unbiased = variance * (rows / (rows - 1))
        tl.store(running_var + channel, old + momentum * (unbiased - old), mask=there)
    scale = _read(gamma + channel, there) * invstd
    shift = _read(beta + channel, there)
    start, count = _rows(rows, chunk, CHANNELS)
    _write(
        y, residual, z, mask, start, count, channel, there, mean, scale, shift,
        CHANNELS, BLOCK_ROWS, RESIDUAL, RELU,
    )  # fmt: skip


@triton.jit(do_not_specialize=_OF_THE_SHAPE)
def normalise_by_running(
    y, residual, gamma, beta, running_mean, running_var, z, rows, chunk, eps,
    CHANNELS: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr,
    RESIDUAL: tl.constexpr, RELU: tl.constexpr,
):  # fmt: skip
    """z by the running statistics (evaluation): nothing to sum, nothing to keep."""
    channel, there = _channels(CHANNELS, BLOCK_CHANNELS)
    mean = _read(running_mean + channel, there)
    invstd = tl.rsqrt(_read(running_var + channel, there) + eps)
    scale = _read(gamma + channel, there) * invstd
    shift = _read(beta + channel, there)
    start, count = _rows(rows, chunk, CHANNELS)
    _write(
        y, residual, z, z, start, count, channel, there, mean, scale, shift,
        CHANNELS, BLOCK_ROWS, RESIDUAL, RELU,
    )  # fmt: skip


# --- backward -----------------------------------------------------------------------------------


@triton.jit
def _behind_relu(g, away, mask, at, valid, scale, shift, RELU: tl.constexpr):
    """The gradient g behind the ReLU; `away` is y − mean. The sign is that of the forward's value,
    by the same expression."""
    if RELU == MASK:
        g = tl.where(tl.load(mask + at, mask=valid, other=0) != 0, g, 0.0)
    if RELU == SIGN:
        g = tl.where(away * scale[None, :] + shift[None, :] <= 0.0, 0.0, g)
    return g


@triton.jit(do_not_specialize=_OF_THE_SHAPE)
def gradient_sums(
    dz, y, mask, gamma, beta, saved, kept, part, rows, chunk,
    CHANNELS: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr,
    RELU: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Sums of g and of g·(y − mean) in this part, where g is the gradient behind the ReLU, which
    KEEP writes to `kept`."""
    channel, there = _channels(CHANNELS, BLOCK_CHANNELS)
    start, count = _rows(rows, chunk, CHANNELS)
    mean = _read(saved + channel, there)
    scale = _read(gamma + channel, there) * _read(saved + CHANNELS + channel, there)
    shift = _read(beta + channel, there)
    sum_g = tl.zeros([BLOCK_ROWS, BLOCK_CHANNELS], tl.float32)
    sum_gy = tl.zeros([BLOCK_ROWS, BLOCK_CHANNELS], tl.float32)
    for first in range(0, count, BLOCK_ROWS):
        place, valid = _tile(first, count, channel, there, CHANNELS, BLOCK_ROWS)
        away = _read(y + start + place, valid) - mean[None, :]
        g = _read(dz + start + place, valid)
        g = _behind_relu(g, away, mask, start + place, valid, scale, shift, RELU)
        if KEEP:
            tl.store(kept + start + place, g.to(kept.dtype.element_ty), mask=valid)
        sum_g += g
        sum_gy += g * away
    to = part + tl.program_id(0) * CHANNELS + channel
    tl.store(to, tl.sum(sum_g, 0), mask=there)
    tl.store(to + tl.num_programs(0) * CHANNELS, tl.sum(sum_gy, 0), mask=there)


@triton.jit
def _merged_sums(
    part, parts, channel, there,
    CHANNELS: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr,
):  # fmt: skip
    """Both sums over all rows, from the parts' sums."""
    sum_g = tl.zeros([BLOCK_ROWS, BLOCK_CHANNELS], tl.float32)
    sum_gy = tl.zeros([BLOCK_ROWS, BLOCK_CHANNELS], tl.float32)
    for first in range(0, parts, BLOCK_ROWS):
        place, valid = _tile(first, parts, channel, there, CHANNELS, BLOCK_ROWS)
        sum_g += _read(part + place, valid)
        sum_gy += _read(part + parts * CHANNELS + place, valid)
    return tl.sum(sum_g, 0), tl.sum(sum_gy, 0)


@triton.jit(do_not_specialize=_OF_THE_SHAPE)
def gradients(
    dz, y, mask, gamma, beta, saved, part, parts, dy, d_affine, rows, chunk,
    CHANNELS: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr,
    RELU: tl.constexpr, INPUT: tl.constexpr,
):  # fmt: skip
    """d_affine [2, channels], the gradients of γ and β, stored by the first part's programs; with
    INPUT also dy = γ/σ · (g − mean of g − (y − mean)/σ² · mean of g·(y − mean)) of this part."""
    channel, there = _channels(CHANNELS, BLOCK_CHANNELS)
    sum_g, sum_gy = _merged_sums(part, parts, channel, there, CHANNELS, BLOCK_ROWS, BLOCK_CHANNELS)
    invstd = _read(saved + CHANNELS + channel, there)
    if tl.program_id(0) == 0:
        tl.store(d_affine + channel, sum_gy * invstd, mask=there)
        tl.store(d_affine + CHANNELS + channel, sum_g, mask=there)
    if INPUT:
        start, count = _rows(rows, chunk, CHANNELS)
        mean = _read(saved + channel, there)
        scale = _read(gamma + channel, there) * invstd
        shift = _read(beta + channel, there)
        by_y = -scale * invstd * invstd * (sum_gy / rows)
        constant = -scale * (sum_g / rows)
        for first in range(0, count, BLOCK_ROWS):
            place, valid = _tile(first, count, channel, there, CHANNELS, BLOCK_ROWS)
            away = _read(y + start + place, valid) - mean[None, :]
            g = _read(dz + start + place, valid)
            g = _behind_relu(g, away, mask, start + place, valid, scale, shift, RELU)
            value = scale[None, :] * g + (by_y[None, :] * away + constant[None, :])
            tl.store(dy + start + place, value.to(dy.dtype.element_ty), mask=valid)
