"""A GPU step's forward and backward as one CUDA graph: recorded once, replayed for each batch.

A small network's step is limited by the launching of its hundreds of kernels, not by them.
The optimizer's three or four kernels stay outside: so the rate may change at
every step, and the arithmetic is the same. A graph is used only if it repeats the step it was
recorded from.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Outputs = tuple[Tensor, Tensor, Tensor]
"""Mean loss [], hits [] and the gradient [trained elements] of a batch."""
Differentiate = Callable[[Tensor, Tensor], Outputs]
"""Images and labels to outputs; moves BatchNorm's running statistics."""
Replay = Callable[[], None]
Capture = Callable[[Callable[[], Outputs]], tuple[Replay, Outputs]]
"""Records a call: what repeats it, and the tensors that every repetition overwrites."""

WARM_UPS = 3
RELATIVE_GAP = 1e-2
"""Sums in another order differ by less, also where bf16 rounds them; a wrong recording by more."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Graph:
    """A recorded step; called like the step it was recorded from, on batches of one shape."""

    images: Tensor
    labels: Tensor
    replay: Replay
    outputs: Outputs

    def fits(self, images: Tensor) -> bool:
        """Whether a batch has the recorded shape; an epoch's last one may be shorter."""
        return images.shape == self.images.shape

    def __call__(self, images: Tensor, labels: Tensor) -> Outputs:
        """The outputs are overwritten by the next call."""
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.replay()
        return self.outputs


def record(
    differentiate: Differentiate,
    images: Tensor,
    labels: Tensor,
    statistics: Tensor,
    capture: Capture | None = None,
) -> Graph | None:
    """Record a step on `images` and `labels`, which become the graph's own memory.

    Returns None, with a warning, where it cannot be recorded or does not repeat the step.
    `statistics`, BatchNorm's running statistics, are as before afterwards. `capture` is CUDA's
    unless a test on the CPU gives another.
    """
    before = statistics.clone()

    def rewind() -> None:
        statistics.copy_(before)

    try:
        expected = [tensor.clone() for tensor in (*differentiate(images, labels), statistics)]
        for _ in range(WARM_UPS):
            differentiate(images, labels)
        replay, outputs = (capture or _capture_on_gpu)(lambda: differentiate(images, labels))
        rewind()
        replay()
        repeats = all(map(_close, (*outputs, statistics), expected))
    except RuntimeError as error:
        _log.warning("no CUDA graph: %s", (str(error) or "unknown").splitlines()[0])
        return None
    finally:
        rewind()
    if not repeats:
        _log.warning("no CUDA graph: what was recorded does not repeat the step")
        return None
    return Graph(images, labels, replay, outputs)


def _close(found: Tensor, expected: Tensor) -> bool:
    gap = (found.double() - expected.double()).norm()
    return bool(gap <= RELATIVE_GAP * expected.double().norm())


def _capture_on_gpu(run: Callable[[], Outputs]) -> tuple[Replay, Outputs]:
    """As torch's notes on CUDA graphs say: warm up on a side stream, then capture.

    A stream that is a pack member's own is its own side stream. A graph uses cuBLAS's workspace of
    the stream it was captured on: graphs that replay side by side must not share one.
    """
    here = torch.cuda.current_stream()
    stream = side_stream(here.device) if here == torch.cuda.default_stream() else here
    stream.wait_stream(here)
    with torch.cuda.stream(stream):
        run()
    here.wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        outputs = run()
    return graph.replay, outputs


@functools.cache
def side_stream(device: torch.device, number: int = 0) -> torch.cuda.Stream:  # noqa: ARG001
    """The same for all trials of a worker: each new stream gets a cuBLAS workspace, for good."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
