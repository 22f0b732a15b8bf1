"""Randomness as a function of (seed, stream, epoch, index): there is no generator state to save."""

from __future__ import annotations

import hashlib
from typing import Literal

import torch

Stream = Literal["init", "order", "augment", "random_k", "forward", "own_augment"]


def generator(seed: int, stream: Stream, *parts: int) -> torch.Generator:
    """A CPU generator that depends on its arguments alone.

    The streams are independent, so that the modes of one seed start from the same weights and see
    the same batches.
    """
    return torch.Generator().manual_seed(number(seed, stream, *parts))


def number(seed: int, stream: Stream, *parts: int) -> int:
    """A seed below 2**63 that depends on its arguments alone."""
    key = ":".join(map(str, (seed, stream, *parts)))
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def of_forward(seed: int, step: int, group: int) -> int:
    """What the forward pass of a step's group draws from, where a network draws."""
    return number(seed, "forward", step, *([group] if group else []))
