"""The epoch under way: each step's loss and hits, kept on the device until its end."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.errors import Diverged, SpecError
from trainer.spec import TrialSpec, image_size_of, layers_of


class Epoch:
    """`losses` [steps] mean losses and `hits` [steps] counts; read once, so no step waits."""

    def __init__(self, images: int, batch_size: int, device: torch.device) -> None:
        self.images, self.batch_size = images, batch_size
        self.steps = -(-images // batch_size)
        self.losses = torch.zeros(self.steps, device=device)
        self.hits = torch.zeros(self.steps, device=device)

    def note(self, step: int, loss: Tensor, hits: Tensor) -> None:
        """Keep the mean loss and the hits of a step (from 0)."""
        self.losses[step], self.hits[step] = loss, hits

    def restore(self, losses: Tensor, hits: Tensor) -> None:
        """Begin with the first steps of a run that was stopped within the epoch."""
        self.losses[: len(losses)] = losses.to(self.losses.device)
        self.hits[: len(hits)] = hits.to(self.hits.device)

    def metrics(self, number: int, last_loss: float | None) -> dict[str, float]:
        """Means over the epoch's images as they were trained on. Waits for the device.

        Raises Diverged with the first step whose loss is not finite; `last_loss` is that of the
        epoch before.
        """
        losses, hits = self.losses.double().cpu(), self.hits.double().cpu()
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            step = int(bad[0])
            raise Diverged(number, step, losses[step - 1].item() if step else last_loss)
        sizes = torch.full_like(losses, self.batch_size)
        sizes[-1] = self.images - (self.steps - 1) * self.batch_size
        return {
            "train/loss": float((losses * sizes).sum() / self.images),
            "train/accuracy": 100 * float(hits.sum() / self.images),
        }


def check_last_batch(spec: TrialSpec, images: int) -> None:
    """Raise SpecError where an epoch of `images` ends with a batch that BatchNorm cannot take.

    It needs two values for each channel, and some networks end in one pixel. With `bn_batch` its
    batches are the groups; only an epoch's last one can be shorter than the others.
    """
    size = spec.group_size
    last = images % size or size
    if last != 1 or spec.own:  # of a network that is not ours, the first such batch tells
        return
    if any(layer.kind == "norm" and layer.size == 1 for layer, _ in layers_of(spec)):
        field = "bn_batch" if spec.bn_batch else "batch_size"
        raise SpecError(
            f"{field}: {images} images in batches of {size} leave a batch of one, of "
            f"which BatchNorm has no variance at image_size {image_size_of(spec)}; change "
            f"{field} or train_subset"
        )
