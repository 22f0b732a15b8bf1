"""A batch's BatchNorm groups: consecutive images that share statistics while training.

A step runs its groups one after another, so it needs the memory of one, and adds their gradients in
the order of the groups, each by its share of the batch. No bit of the sum depends on where a group
was computed: additions of whole vectors, element by element, have no other order.

The running statistics move by the first group, as they do in torch.nn.DataParallel, with which the
paper's framework trained on several GPUs: its replicas' buffers are thrown away, but the first's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.kernels.cuda_graphs import Outputs


def cut(images: int, size: int) -> list[slice]:
    """A batch of `images` in groups of `size`, the last one shorter where that leaves a rest."""
    return [slice(first, min(first + size, images)) for first in range(0, images, size)]


def kept(statistics: Tensor, index: int) -> Tensor | None:
    """The running statistics before group `index` (from 0); None before the first, which moves
    them."""
    return statistics.clone() if index else None


def put_back(statistics: Tensor, before: Tensor | None) -> None:
    """Undo what a group did to the running statistics that were `kept`."""
    if before is not None:
        statistics.copy_(before)


BESIDE_GRADIENT = 2
"""Numbers in a group's vector after the gradient's."""


def packed(outputs: Outputs, share: float) -> Tensor:
    """A group's [gradient, loss, hits] as one vector, the first two by its `share` of the batch."""
    loss, hits, gradient = outputs
    vector = torch.cat([gradient, loss[None], hits[None].to(loss.dtype)])
    vector[:-1].mul_(share)
    return vector


def unpacked(total: Tensor) -> Outputs:
    """The batch's mean loss, hits and gradient, as views of the added vectors."""
    return total[-2], total[-1], total[:-2]


def added(total: Tensor | None, vector: Tensor) -> Tensor:
    """The sum of the groups so far (None: of none) with the next one's vector, in place.

    A function, so that no name in the caller keeps that vector while the next group is computed.
    """
    return vector if total is None else total.add_(vector)
