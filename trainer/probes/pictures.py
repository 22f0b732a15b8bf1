"""Pictures of feature maps, for people."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, GAP = 64, 2
"""Of a tile and between tiles, in pixels."""


def picture(arrays: dict[str, NDArray[Any]]) -> bytes:
    """PNG: a row for each place and image: the image, then its channels at full contrast each."""
    rows = [
        [image.transpose(1, 2, 0), *channels]
        for place in ("early", "late")
        for image, channels in zip(
            arrays["feature_inputs"], arrays[f"features_{place}"], strict=True
        )
    ]
    pitch = SIDE + GAP
    canvas = np.zeros((len(rows) * pitch, max(map(len, rows)) * pitch, 3), np.uint8)
    for down, row in enumerate(rows):
        for across, values in enumerate(row):
            top, left = down * pitch, across * pitch
            canvas[top : top + SIDE, left : left + SIDE] = _tile(values)
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _tile(values: NDArray[Any]) -> NDArray[np.uint8]:
    """[h, w] or [h, w, 3] to [64, 64, 3] grey or colour, nearest pixels."""
    low, high = float(values.min()), float(values.max())
    scaled = (255 * (values.astype(np.float32) - low) / (high - low or 1.0)).astype(np.uint8)
    down, across = (np.arange(SIDE) * side // SIDE for side in values.shape[:2])
    pixels = scaled[down[:, None], across]
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
