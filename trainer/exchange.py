"""What the processes of one trial tell each other: their groups' gradients, state, test sums.

Vectors travel whole and are added here, in the order of the groups. No collective adds anything, so
no bit depends on how many processes there are (an all-reduce would add in another order for each
number of them).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from trainer import bn_groups
from trainer.errors import RankLost

CONNECT_S = 60.0
"""For processes that are all ready."""
_FOR_EVER = timedelta(days=30)
"""A follower may wait long for its leader, which evaluates and writes; the leader's patience with
its followers is that of trainer.ranks.crew."""


class Ranks(Protocol):
    """The processes of a trial, as one of them sees them."""

    rank: int
    """Which one this is; 0 leads."""
    size: int

    def added(self, total: Tensor | None, vector: Tensor, count: int) -> Tensor:
        """`total` (None: of no groups) with the next `count` groups, of which `vector` is the one
        of this rank; a rank beyond `count` has none and gives a vector whose numbers nobody adds.
        """

    def whole(self, total: Tensor, length: int) -> Tensor:
        """The added vectors of that length, from what `added` gave each rank."""

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite these tensors of all followers with the leader's."""

    def gathered(self, mine: Sequence[Tensor]) -> list[Tensor]:
        """At the leader all ranks' tensors, dealt out one after another; elsewhere nothing."""


class Alone:
    """The only process of its trial."""

    rank, size = 0, 1

    def added(self, total: Tensor | None, vector: Tensor, count: int) -> Tensor:  # noqa: ARG002
        return bn_groups.added(total, vector)

    def whole(self, total: Tensor, length: int) -> Tensor:  # noqa: ARG002
        return total

    def share(self, tensors: Sequence[Tensor]) -> None:
        """There is nobody to share with."""

    def gathered(self, mine: Sequence[Tensor]) -> list[Tensor]:
        return list(mine)


ALONE = Alone()


class Connected:
    """One of several processes, by torch's gloo or NCCL. Raises RankLost where another is gone."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.waits_since: float | None = None
        self.longest_work_s = 0.0
        """The longest time between two waits, as a measure of how long others may take."""
        self._back = time.monotonic()

    def added(self, total: Tensor | None, vector: Tensor, count: int) -> Tensor:
        vector = F.pad(vector, (0, -len(vector) % self.size))
        parts = torch.empty_like(vector).view(self.size, -1)
        with self._waiting():
            dist.all_to_all_single(parts.view(-1), vector)
        for part in parts[:count]:  # in the order of the groups
            total = bn_groups.added(total, part)
        assert total is not None  # there is at least one group
        return total

    def whole(self, total: Tensor, length: int) -> Tensor:
        parts = total.new_empty(self.size, len(total))
        with self._waiting():
            dist.all_gather(list(parts), total)
        return parts.view(-1)[:length]

    def share(self, tensors: Sequence[Tensor]) -> None:
        with self._waiting():
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def gathered(self, mine: Sequence[Tensor]) -> list[Tensor]:
        rows: list[Any] = [None] * self.size
        with self._waiting():
            dist.gather_object([row.cpu() for row in mine], None if self.rank else rows)
        if self.rank:
            return []
        return [rows[n % self.size][n // self.size] for n in range(sum(map(len, rows)))]

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        now = self.waits_since = time.monotonic()
        self.longest_work_s = max(self.longest_work_s, now - self._back)
        try:
            yield
        except RuntimeError as error:  # torch has no narrower type for all of its back ends
            raise RankLost(_first_line(error)) from error
        finally:
            self.waits_since, self._back = None, time.monotonic()


@contextlib.contextmanager
def connected(folder: Path, rank: int, size: int, device: torch.device) -> Iterator[Connected]:
    """Connect with the other ranks, which are ready, by a file in a private folder.

    Whatever listens does so on the loopback device alone. Raises RankLost.
    """
    _stay_on_loopback()
    store = dist.FileStore(  # type: ignore[attr-defined]
        str(folder / "rendezvous"), size
    )
    try:
        try:
            dist.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                store=store,
                rank=rank,
                world_size=size,
                timeout=timedelta(seconds=CONNECT_S),
            )
        except RuntimeError as error:
            raise RankLost(_first_line(error)) from error
        _set_timeout(_FOR_EVER)
        yield Connected(rank, size)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _stay_on_loopback() -> None:
    device = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = device


def _set_timeout(timeout: timedelta) -> None:
    """Its name was private up to torch 2.13."""
    if set_timeout := getattr(dist, "set_timeout", None):
        set_timeout(timeout)
    else:
        dist.distributed_c10d._set_pg_timeout(timeout)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
