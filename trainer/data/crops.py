"""The ImageNet recipe's crops of one image (paper, table "Training"): torchvision's arithmetic, but
with random numbers of the caller's. No torch here: processes that decode images load none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RATIO = (0.8, 1.25)
ATTEMPTS = 10
SHORTER_SIDE = 256 / 224
"""The test image's shorter side, as a multiple of the crop's."""

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels."""


class Picture(Protocol):
    """A decoded image: PIL's, or pixels in memory."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    def crop(self, box: Box) -> Image.Image:
        """That part of it."""

    def resize(self, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
        """The whole in another size."""


class Pixels:
    """A picture out of an array [height, width, 3] uint8: only what is asked for becomes PIL's."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array

    @property
    def size(self) -> tuple[int, int]:
        return self.array.shape[1], self.array.shape[0]

    def crop(self, box: Box) -> Image.Image:
        left, top, right, bottom = box
        return Image.fromarray(self.array[top:bottom, left:right])

    def resize(self, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
        return Image.fromarray(self.array).resize(size, resample)


def random_resized_crop(
    image: Picture, side: int, draws: Sequence[float], least: float
) -> NDArray[np.uint8]:
    """A crop of random area (a share of at least `least`) and shape, resized to [side, side, 3]."""
    crop = image.crop(random_box(*image.size, draws, least))
    return np.asarray(crop.resize((side, side), Image.Resampling.BILINEAR))


def random_box(width: int, height: int, draws: Sequence[float], least: float) -> Box:
    """A box of `least` to all of the image's area and a shape of RATIO; the middle if none of ten
    attempts fits.

    `draws`: four numbers of 0..1 for each attempt.
    """
    for attempt in range(ATTEMPTS):
        area, shape, left, top = draws[4 * attempt : 4 * attempt + 4]
        target = width * height * (least + area * (1.0 - least))
        low, high = math.log(RATIO[0]), math.log(RATIO[1])
        ratio = math.exp(low + shape * (high - low))
        w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(left * (width - w + 1)), int(top * (height - h + 1))
            return x, y, x + w, y + h
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def centre_crop(image: Picture, side: int) -> NDArray[np.uint8]:
    """The shorter side resized to 256/224 of `side`, then the middle [side, side, 3]."""
    resized = with_shorter_side(image, round(side * SHORTER_SIDE))
    width, height = resized.size
    x, y = round((width - side) / 2), round((height - side) / 2)
    return np.asarray(resized.crop((x, y, x + side, y + side)))


def with_shorter_side(image: Picture, shorter: int) -> Picture:
    """The image resized so that its shorter side has so many pixels."""
    width, height = image.size
    if min(width, height) == shorter:
        return image
    scale = shorter / min(width, height)
    width, height = max(shorter, int(width * scale)), max(shorter, int(height * scale))
    return image.resize((width, height), Image.Resampling.BILINEAR)
