"""The ImageNet recipe's crops of one image (paper, table "Training"): torchvision's arithmetic, but
with a generator of the caller's."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

AREA = (0.1, 1.0)
RATIO = (0.8, 1.25)
ATTEMPTS = 10
SHORTER_SIDE = 256 / 224
"""The test image's shorter side, as a multiple of the crop's."""

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels."""


def random_resized_crop(image: Image.Image, side: int, draw: torch.Generator) -> NDArray[np.uint8]:
    """A crop of random area and shape, resized to [side, side, 3]."""
    crop = image.crop(random_box(*image.size, draw))
    return np.asarray(crop.resize((side, side), Image.Resampling.BILINEAR))


def random_box(width: int, height: int, draw: torch.Generator) -> Box:
    """A box of AREA of the image and a shape of RATIO; the middle if none of ten draws fits."""
    for area, shape, left, top in torch.rand(
        ATTEMPTS, 4, generator=draw, dtype=torch.float64
    ).tolist():
        target = width * height * (AREA[0] + area * (AREA[1] - AREA[0]))
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


def centre_crop(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """The shorter side resized to 256/224 of `side`, then the middle [side, side, 3]."""
    width, height = image.size
    shorter = round(side * SHORTER_SIDE)
    scale = shorter / min(width, height)
    width, height = max(shorter, int(width * scale)), max(shorter, int(height * scale))
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    x, y = round((width - side) / 2), round((height - side) / 2)
    return np.asarray(resized.crop((x, y, x + side, y + side)))
