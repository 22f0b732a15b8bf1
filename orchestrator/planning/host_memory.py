"""The memory of its host, not of a GPU, that a worker takes while it trains. No torch.

It is reserved where `resources` says `memory: auto`.

A worker keeps what it once took, so this is the most of a trial: the process, its tensors where
it has no GPU, the images, and its decoders.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.planning import costs
from trainer.data_sets import data_set
from trainer.grouping import share_a_forward
from trainer.spec import TrialSpec, image_size_of

GB = 10**9
_PROCESS_BYTES = 1.2 * GB
"""Python with torch, Ray and the allocator's reserve. Measured in Ray's workers on CPUs: trials
took 1.12, 1.36 and 1.81 GB where 1.30, 1.53 and 1.86 are planned."""
_GPU_PROCESS_BYTES = 3.5 * GB
"""The same with CUDA's context and libraries; assumed, not measured."""
_TENSORS = 1.1
"""The allocator's gaps between tensors."""
_DECODED_BYTES = 1.1 * GB
"""Images that a trial's decoders have ready (their buffer is bounded)."""
_DECODER_BYTES = 0.2 * GB


def host_bytes(
    pack: Sequence[TrialSpec], *, on_gpu: bool, processes: int = 1, decoders: int = 0
) -> int:
    """The most that a worker takes of its host's memory for this pack, in bytes.

    `processes` train each trial together; `decoders` decode folders of images for it.
    """
    each = _GPU_PROCESS_BYTES if on_gpu else _PROCESS_BYTES + _TENSORS * _tensors(pack)
    each += max(map(_images, pack))
    folder = any(data_set(spec.dataset).storage == "folder" for spec in pack)
    decoding = _DECODED_BYTES + decoders * _DECODER_BYTES if folder else 0.0
    return int(processes * each + decoding)


def _tensors(pack: Sequence[TrialSpec]) -> int:
    """Of trials that share a forward pass its own once, and else of all that take turns."""
    sizes = map(costs.memory_bytes, pack)
    return max(sizes) if share_a_forward(pack) else sum(sizes)


def _images(spec: TrialSpec) -> int:
    """Bytes of images that lie in memory: training ones with their padding, and test ones."""
    known, side = data_set(spec.dataset), image_size_of(spec)
    if known.storage == "folder":
        return 0
    images = max(costs.training_images(spec) or 0, known.train_images)
    train = images * (side + 2 * spec.crop_padding) ** 2
    return 3 * (train + known.test_images * side**2)
