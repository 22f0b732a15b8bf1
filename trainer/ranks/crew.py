"""The leader's side: it starts the followers, watches them, and ends them with itself.

They write nothing of the trial's, so they may be killed at any moment: a stop is the leader's
alone, and a follower that dies or hangs costs the attempt, which goes on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from trainer import child_process
from trainer.errors import DataError, OutOfMemory, RankLost, SpecError, Stopped
from trainer.exchange import Connected, connected
from trainer.flat import float_buffers
from trainer.kernels import fused_norm
from trainer.options import Options
from trainer.ranks.order import ERROR, ORDER, READY, Order
from trainer.spec import TrialSpec

PATIENCE_S = 120.0
"""So long the leader waits for a follower, beside 20 times what it takes itself."""
_LOOK_S = 0.2
_TAIL_CHARACTERS = 2000


def check(spec: TrialSpec, processes: int, model: nn.Module) -> None:
    """Raise SpecError where so many processes could not train the same bits as one."""
    groups = spec.groups
    if groups % processes:
        divisors = ", ".join(str(n) for n in range(1, groups + 1) if groups % n == 0)
        raise SpecError(
            f"processes: {processes} cannot share the {groups} BatchNorm groups of a batch "
            f"({spec.batch_size} images in groups of {spec.group_size}); use {divisors} of them, "
            "or another bn_batch"
        )
    others = (n for n, m, _ in float_buffers(model) if not isinstance(m, _NormBase))
    if spec.code_sha256 and (name := next(others, None)):
        raise SpecError(
            f"processes: {name} is a buffer outside of a norm, which the groups of a step may "
            "change one after another; train this network with one process"
        )


@contextlib.contextmanager
def followed(
    spec: TrialSpec,
    options: Options,
    device: torch.device,
    kernels: fused_norm.Kernels,
    graph: bool,
) -> Iterator[Connected]:
    """The ranks of a trial of `options.processes` processes, this one their leader.

    The others are started, and ended with the block. Raises what ended one of them: OutOfMemory,
    DataError, or RankLost.
    """
    size = options.processes
    with (
        tempfile.TemporaryDirectory(prefix="bnsweep-ranks-") as name,
        contextlib.ExitStack() as end,
    ):
        folder = Path(name)
        followers = []
        for rank in range(1, size):
            order = Order(
                spec=spec,
                rank=rank,
                size=size,
                data=options.data.absolute(),
                device=f"cuda:{rank}" if device.type == "cuda" else "cpu",
                threads=options.threads,
                decoders=options.decoders_of(rank),
                decoder=options.decoder,
                kernels=kernels,
                graph=graph,
                code=options.code and options.code.absolute(),
                pretrained=options.pretrained and options.pretrained.absolute(),
            )
            followers.append(end.enter_context(_Follower(folder / str(rank), order)))
        try:
            _wait_until_ready(followers, options)
            with connected(folder, 0, size, device) as ranks, _watched(ranks, followers):
                yield ranks
        except RankLost as error:
            raise _reason(followers, error) from error


class _Follows(RankLost):
    """What a follower says that ended for another's end."""


class _Follower:
    """A process `python -m trainer follow FOLDER`, killed at the block's end."""

    def __init__(self, folder: Path, order: Order) -> None:
        folder.mkdir()
        (folder / ORDER).write_text(order.model_dump_json(), encoding="utf-8")
        self.folder, self.rank = folder, order.rank
        with (folder / "output").open("wb") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "trainer", "follow", str(folder)],
                stdin=subprocess.PIPE,  # closed when this process ends, however it ends
                stdout=output,
                stderr=output,
                env=child_process.environment(),
            )

    def __enter__(self) -> _Follower:
        return self

    def __exit__(self, *error: object) -> None:
        self.popen.kill()
        self.popen.wait()
        assert self.popen.stdin
        self.popen.stdin.close()

    @property
    def ready(self) -> bool:
        """Whether it has its data and its network."""
        return (self.folder / READY).exists()

    def reason(self) -> Exception | None:
        """What ended it; None while it runs."""
        code = self.popen.poll()
        if code is None:
            return None
        with contextlib.suppress(OSError, ValueError):
            said = json.loads((self.folder / ERROR).read_text(encoding="utf-8"))
            kinds = {kind.__name__: kind for kind in (OutOfMemory, DataError, SpecError)}
            kind = {RankLost.__name__: _Follows, **kinds}.get(said["type"], RankLost)
            return kind(f"rank {self.rank}: {said['message']}")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        output = (self.folder / "output").read_text(encoding="utf-8", errors="replace").strip()
        return RankLost(
            f"rank {self.rank} (process {self.popen.pid}) ended with {how}"
            + (f": {output[-_TAIL_CHARACTERS:]}" if output else "")
        )


def _wait_until_ready(followers: Sequence[_Follower], options: Options) -> None:
    """Raises RankLost, and Stopped where that is asked for meanwhile: nothing is lost by it."""
    while not all(follower.ready for follower in followers):
        if any(follower.popen.poll() is not None for follower in followers):
            raise RankLost("a follower has ended")
        if options.poll():
            raise Stopped("stopped before its first step here; it goes on from where it stood")
        time.sleep(_LOOK_S)


@contextlib.contextmanager
def _watched(ranks: Connected, followers: Sequence[_Follower]) -> Iterator[None]:
    """Kill followers that the leader waits for in vain: then its wait ends, with an error."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_S):
            since = ranks.waits_since
            patience = PATIENCE_S + 20 * ranks.longest_work_s
            if since is not None and time.monotonic() - since > patience:
                for follower in followers:
                    follower.popen.kill()
                return

    thread = threading.Thread(target=watch, name="ranks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _reason(followers: Sequence[_Follower], error: RankLost) -> Exception:
    """What ended a follower; one that lost another rank is not the first."""
    end = time.monotonic() + 5
    reasons: list[Exception] = []
    while not reasons and time.monotonic() < end:
        time.sleep(_LOOK_S)
        found = (follower.reason() for follower in followers)
        reasons = [reason for reason in found if reason and not isinstance(reason, _Follows)]
    return next(iter(reasons), error)
