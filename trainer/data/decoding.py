"""What a process that decodes images is asked to do: tasks, each for some images together.

No torch here, so that such a process starts in a moment and stays small: random numbers come with
the task. Its outcome depends on nothing else, whoever does it.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.crops import (
    ATTEMPTS,
    Picture,
    Pixels,
    centre_crop,
    random_resized_crop,
    with_shorter_side,
)
from trainer.errors import DataError, SpecError

Decoder = Literal["pil", "torchcodec"]
DRAWS = 4 * ATTEMPTS + 2
"""Random numbers of 0..1 for an image: its box, whether it is mirrored, its brightness."""
MIRRORED, LEVEL = DRAWS - 2, DRAWS - 1

Outcome = tuple[NDArray[np.uint8] | None, Any]
"""Pixels, if there are any, and what else there is to say."""


class Task(Protocol):
    """Some work that travels to another process."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the pixels that it gives; empty where they are only known afterwards, or none."""

    def run(self) -> Outcome:
        """Do it. Raises DataError naming the image that cannot be decoded."""


@dataclass(frozen=True)
class Files:
    """Images in files of their own."""

    paths: tuple[str, ...]
    decoder: Decoder = "pil"
    shorter_side: int = 0
    """Larger ones are reduced to this; 0: none."""

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Picture]:
        for path in self.paths:
            image = open_image(Path(path), self.decoder)
            larger = self.shorter_side and min(image.size) > self.shorter_side
            yield with_shorter_side(image, self.shorter_side) if larger else image


@dataclass(frozen=True)
class Stored:
    """Images one after another in one file, as `trainer.data.prepared_images` writes it."""

    path: str
    places: NDArray[np.int64]
    """[n, 3]: the first byte, height and width of each."""

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Picture]:
        file = _opened(self.path)
        for first, height, width in self.places.tolist():
            content = os.pread(file, height * width * 3, first)
            if len(content) != height * width * 3:
                raise DataError(f"{self.path}: is cut short; remove its folder and prepare again")
            yield Pixels(np.frombuffer(content, np.uint8).reshape(height, width, 3))


@cache
def _opened(path: str) -> int:
    return os.open(path, os.O_RDONLY)


Images = Files | Stored


@dataclass(frozen=True)
class Augmented:
    """Each image cropped and mirrored as its row of `draws` [n, DRAWS] says."""

    images: Images
    side: int
    draws: NDArray[np.float64]
    flip: bool
    least: float
    """The least share of an image's area that its crop has."""

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.images), self.side, self.side, 3

    def run(self) -> Outcome:
        pixels = np.empty(self.shape, np.uint8)
        for place, image, draws in zip(pixels, self.images, self.draws.tolist(), strict=True):
            crop = random_resized_crop(image, self.side, draws, self.least)
            place[:] = crop[:, ::-1] if self.flip and draws[MIRRORED] < 0.5 else crop
        return pixels, None


@dataclass(frozen=True)
class Plain:
    """Each image's middle, as for the test."""

    images: Images
    side: int

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.images), self.side, self.side, 3

    def run(self) -> Outcome:
        pixels = np.empty(self.shape, np.uint8)
        for place, image in zip(pixels, self.images, strict=True):
            place[:] = centre_crop(image, self.side)
        return pixels, None


@dataclass(frozen=True)
class Raw:
    """All pixels of the images, one after another; and the height and width of each."""

    images: Files
    shape: tuple[int, ...] = ()

    def run(self) -> Outcome:
        arrays = [np.asarray(image) for image in self.images]
        return np.concatenate([array.ravel() for array in arrays]), [a.shape[:2] for a in arrays]


@dataclass(frozen=True)
class Check:
    """Of each file the sha256, and why it does not decode (empty if it does)."""

    paths: tuple[str, ...]
    shape: tuple[int, ...] = ()

    def run(self) -> Outcome:
        return None, [_checked(Path(path)) for path in self.paths]


def _checked(path: Path) -> tuple[str, str]:
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image.draft("RGB", (1, 1))  # a JPEG decodes at an eighth: all of it is read
            image.load()
    except (OSError, SyntaxError, ValueError) as error:
        return "", str(error).splitlines()[0]
    return hashlib.sha256(content).hexdigest(), ""


# --- decoders ------------------------------------------------------------------------------------


def choose(wanted: Literal["auto", "pil", "torchcodec"]) -> Decoder:
    """`auto`: PIL; torchcodec was not measured to be faster. Raises SpecError where torchcodec is
    asked for and cannot be loaded."""
    if wanted != "torchcodec":
        return "pil"
    try:
        _torchcodec()
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise SpecError(
            f"decoder: torchcodec cannot be loaded ({reason}); pip install 'bnsweep[torchcodec]'"
        ) from error
    return "torchcodec"


def described(decoder: Decoder) -> str:
    """The decoder and its version, which decide pixels."""
    package = {"pil": "pillow", "torchcodec": "torchcodec"}[decoder]
    return f"{decoder} {metadata.version(package)}"


def open_image(path: Path, decoder: Decoder = "pil") -> Picture:
    """The image in RGB, as torchvision's `pil_loader` gives it; raises DataError with the path."""
    try:
        if decoder == "torchcodec":
            return _by_torchcodec(path.read_bytes())
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be decoded ({error})") from error


@cache
def _torchcodec() -> Any:
    """Its decoder of JPEGs; a module that loads torch, for those who ask for it."""
    return importlib.import_module("torchcodec.decoders").decode_jpeg


def _by_torchcodec(content: bytes) -> Picture:
    """A JPEG in grey or YCbCr; what else a file of that name may hold is left to PIL."""
    with Image.open(io.BytesIO(content)) as image:
        if image.format != "JPEG" or image.mode not in ("RGB", "L"):
            return image.convert("RGB")
        try:
            return Pixels(_torchcodec()(content, mode="RGB").permute(1, 2, 0).numpy())
        except RuntimeError:  # it refuses what PIL repairs; if PIL refuses it too, PIL says why
            return image.convert("RGB")
