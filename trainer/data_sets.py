"""The data sets: how large each is, how it is stored, and what reads it.

A data set is one record of `DATA_SETS`. Planning, validation and the trainer ask this table, so
nothing here loads torch or numpy: readers are named, and looked up when one is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from trainer.late import late

Storage = Literal["bundled", "generated", "download", "folder", "code"]
"""Part of a dependency; made on the spot; fetched once and prepared on each node; a folder of
images in the data folder, decoded while training; read by a user's own code."""

FOLDER_SIDE = 224
"""Image side where neither the spec nor the data set says."""


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set before it is read; 0: only the spec or the data tells."""

    storage: Storage
    classes: int = 0
    side: int = 0
    """Of the square images, in pixels."""
    train_images: int = 0
    test_images: int = 0
    read: Callable[..., Any] | None = None
    """(spec, root) to both splits, as `trainer.data.in_memory.Arrays`; None for a folder."""

    @property
    def always_there(self) -> bool:
        """Whether nothing of it can be missing."""
        return self.storage in ("bundled", "generated")

    @property
    def flexible(self) -> bool:
        """Whether the spec may give classes, image size and data_id."""
        return self.storage in ("generated", "folder")

    @property
    def evaluation_batch(self) -> int:
        """Images in a batch of the evaluation; small where they are decoded on the way.

        Fixed, because the rounding of a sum depends on its grouping; the speed does not.
        """
        return 100 if self.storage == "folder" else 500

    @property
    def evaluated_together(self) -> int:
        """Images in the largest batch that an evaluation has."""
        return min(self.test_images or self.evaluation_batch, self.evaluation_batch)


_IN_MEMORY = "trainer.data.in_memory"

DATA_SETS: dict[str, DataSet] = {
    "digits": DataSet("bundled", 10, 8, 1_437, 360, late(_IN_MEMORY, "digits")),
    "cifar10": DataSet("download", 10, 32, 50_000, 10_000, late(_IN_MEMORY, "cifar")),
    "cifar100": DataSet("download", 100, 32, 50_000, 10_000, late(_IN_MEMORY, "cifar")),
    "imagenet": DataSet("folder", 1_000, 224, 1_281_167, 50_000),
    "image_folder": DataSet("folder"),
    "synthetic": DataSet("generated", 10, 32, 512, 256, late(_IN_MEMORY, "synthetic")),
}
"""By name, the value of the field `dataset`. Entries may be added while a program runs."""

UNKNOWN = DataSet("code")
"""What is known of a data set that only a user's code knows, where that code is not loaded."""


def data_set(name: str) -> DataSet:
    """The record of `name`, or `UNKNOWN`."""
    return DATA_SETS.get(name, UNKNOWN)
