"""Images that a user's own code reads, brought into the form that all data sets have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.in_memory import Arrays, Splits
from trainer.errors import DataError
from trainer.spec import TrialSpec, classes_of, image_size_of


def reading(reader: Callable[..., Any], name: str) -> Callable[[TrialSpec, Path], Splits]:
    """A reader for the table of data sets out of a user's function (root, spec)."""

    def read(spec: TrialSpec, root: Path) -> Splits:
        given = reader(root, spec)
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise DataError(f"dataset {name}: gives no pair of training and test images")
        train, test = (_arrays(part, spec, f"dataset {name}") for part in given)
        return train, test

    return read


def _arrays(given: Any, spec: TrialSpec, where: str) -> Arrays:
    if not isinstance(given, tuple | list):  # a map-style data set
        pairs = [given[index] for index in range(len(given))]
        given = [image for image, _ in pairs], [label for _, label in pairs]
    images, labels = given
    pixels = np.stack([_pixels(image, where) for image in images]) if len(images) else np.empty(0)
    side, classes = image_size_of(spec), classes_of(spec)
    if pixels.shape[1:] != (side, side, 3):
        raise DataError(
            f"{where}: found images of shape {tuple(pixels.shape[1:])}; allowed: {side}x{side} "
            "pixels, as it says of itself"
        )
    numbers = _whole(np.asarray(labels), where, "labels").reshape(-1)
    if len(numbers) != len(pixels):
        raise DataError(f"{where}: {len(pixels)} images have {len(numbers)} labels")
    if numbers.min() < 0 or numbers.max() >= classes:
        raise DataError(
            f"{where}: found labels from {numbers.min()} to {numbers.max()}; "
            f"allowed: 0 to {classes - 1}"
        )
    return Arrays(np.ascontiguousarray(pixels), numbers)


def _pixels(image: Any, where: str) -> NDArray[np.uint8]:
    """One image as [h, w, 3] uint8: of a PIL image, an array or a tensor, grey or in colour."""
    array = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise DataError(f"{where}: found an image of shape {array.shape}; allowed: grey or RGB")
    return np.repeat(_bytes(array, where), 3 // array.shape[2], axis=2)


def _bytes(array: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Pixels as uint8; none is cut to fit."""
    scaled = np.round(array * 255) if np.issubdtype(array.dtype, np.floating) else array
    if scaled.size and not (scaled.min() >= 0 and scaled.max() <= 255):  # nor what is no number
        raise DataError(
            f"{where}: found pixels from {array.min():g} to {array.max():g} ({array.dtype}); "
            "allowed: floats from 0 to 1, or whole numbers from 0 to 255"
        )
    return scaled.astype(np.uint8)


def _whole(array: NDArray[Any], where: str, what: str) -> NDArray[np.int64]:
    numbers = array.astype(np.int64)
    if not np.array_equal(numbers, array):
        raise DataError(f"{where}: found {what} that are no whole numbers")
    return numbers
