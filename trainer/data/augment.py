"""Batches from images that are resident on the device: order, crops and flips.

What batch i of epoch e holds is a function of (seed, e, i): `plan` draws the whole epoch at once
from generators of its own, so that a resume needs no random state and trials may share data.
A batch is one gather of whole rows out of the padded uint8 images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer import seeding
from trainer.errors import SpecError
from trainer.spec import TrialSpec

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Normaliser:
    """Maps a byte x to x · scale + shift for each channel; both [3], on the device."""

    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, kind: str, device: torch.device) -> Normaliser:
        """The paper's (`imagenet`: mean and deviation of each channel) or `none` (to 0..1)."""
        if kind == "none":
            return cls(torch.full((3,), 1 / 255, device=device), torch.zeros(3, device=device))
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        return cls((1 / (255 * std)).to(device), (-mean / std).to(device))

    def __call__(self, pixels: Tensor, brightness: Tensor | None = None) -> Tensor:
        """uint8 [b, side, side, 3] to fp32 [b, 3, side, side], channels last in memory.

        `brightness` [b, 1, 1, 1] is added to the image in 0..1, which is then clipped.
        """
        if brightness is None:
            return self._by_rows(pixels.float(), self.scale)
        bright = (pixels.float() / 255 + brightness).clamp_(0, 1)
        return self._by_rows(bright, self.scale * 255)

    def _by_rows(self, images: Tensor, scale: Tensor) -> Tensor:
        """images · scale + shift, over whole rows: an inner loop of 3 channels is 20x slower."""
        side = images.shape[2]
        rows = torch.addcmul(self.shift.repeat(side), images.flatten(2), scale.repeat(side))
        return rows.view(images.shape).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Plan:
    """An epoch's training batches, by position in the epoch; tensors on the device.

    `images` [n] int64: which image · `corners` [n] int64: pixel index of the crop's first pixel in
    the padded set · `flips` [n, 1, 1, 1] uint8 (255 or 0) or None · `brightness` [n, 1, 1, 1] float
    or None.
    """

    images: Tensor
    corners: Tensor
    flips: Tensor | None
    brightness: Tensor | None


@dataclass(frozen=True)
class Resident:
    """Images on the device: `pixels` [n, side, side, 3] uint8 with their padding, `labels` [n]."""

    pixels: Tensor
    labels: Tensor
    padding: int
    normalise: Normaliser
    members: Tensor | None = None
    """The split's images among them, by number, on the CPU; None: all. So what is left out needs
    no copy of the others, which all trials on a node share."""

    @property
    def count(self) -> int:
        return len(self.labels if self.members is None else self.members)

    @property
    def padded_side(self) -> int:
        return self.pixels.shape[1]

    def plan(self, spec: TrialSpec, epoch: int) -> Plan:
        """The order, crops, flips and brightness of `epoch` (counted from 1)."""
        count, device = self.count, self.labels.device
        order = torch.randperm(count, generator=seeding.generator(spec.seed, "order", epoch))
        order = order if self.members is None else self.members[order]
        draw = seeding.generator(spec.seed, "augment", epoch)  # all is drawn, used or not, so that
        offsets = torch.randint(2 * self.padding + 1, (count, 2), generator=draw)  # fields do not
        mirrored = torch.randint(2, (count, 1, 1, 1), generator=draw).bool()  # shift each other
        levels = 2 * torch.rand(count, 1, 1, 1, generator=draw) - 1
        corners = order * self.padded_side**2 + offsets[:, 0] * self.padded_side + offsets[:, 1]
        flips = (255 * mirrored.byte()).to(device) if spec.flip else None
        brightness = (levels * spec.brightness).to(device) if spec.brightness else None
        return Plan(order.to(device), corners.to(device), flips, brightness)

    def training_batch(self, plan: Plan, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Positions first..last of an epoch: images [b, 3, side, side] fp32, labels [b]."""
        crops = self.crop(plan.corners[first:last])
        if plan.flips is not None:
            # A select by bits: torch.where takes three times as long to spread a flag.
            crops = crops ^ ((crops ^ crops.flip(2)) & plan.flips[first:last])
        brightness = None if plan.brightness is None else plan.brightness[first:last]
        labels = self.labels.index_select(0, plan.images[first:last])
        return self.normalise(crops, brightness), labels

    def plain_batch(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Images first..last of all as they are, in their own order."""
        return self.normalise(self.pixels[first:last]), self.labels[first:last]

    def crop(self, corners: Tensor) -> Tensor:
        """Crops [b, side, side, 3] uint8 whose first pixels are at `corners`.

        The padded set is viewed as overlapping rows, one starting at each pixel, so that every row
        of every crop is one contiguous copy.
        """
        padded, side = self.padded_side, self.padded_side - 2 * self.padding
        starts = self.pixels.numel() // 3 - side + 1
        rows = self.pixels.as_strided((starts, side * 3), (3, 1))
        down = torch.arange(side, device=corners.device) * padded
        index = (corners[:, None] + down).reshape(-1)
        return rows.index_select(0, index).view(len(corners), side, side, 3)


Own = Callable[[Tensor, torch.Generator], Tensor]
"""Images [b, 3, side, side] fp32 and a CPU generator to images of the same shape."""

OWN: dict[str, Own] = {}
"""Augmentations that a user's code defines, by name, while a trial that names it is trained."""


def augmented(
    batches: Iterable[tuple[Tensor, Tensor]], spec: TrialSpec, epoch: int, first_step: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch with the spec's own augmentation, where it names one."""
    if not spec.augmentation:
        yield from batches
        return
    own = OWN[spec.augmentation]
    for step, (images, labels) in enumerate(batches, first_step):
        changed = own(images, seeding.generator(spec.seed, "own_augment", epoch, step))
        if changed.shape != images.shape:
            raise SpecError(
                f"augmentation: {spec.augmentation} gave images of shape {tuple(changed.shape)} "
                f"for images of shape {tuple(images.shape)}"
            )
        yield changed, labels
