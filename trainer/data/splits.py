"""A trial's data: two splits that give batches on the device, and the digest of their content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from trainer.data import image_folder, prepared_images
from trainer.data.augment import Normaliser, Resident, augmented
from trainer.data.decoders import Decoders
from trainer.data.decoding import Decoder, choose, described
from trainer.data.image_folder import Listing, Source
from trainer.data.in_memory import Arrays, arrays
from trainer.data.prepared_images import StoredListing
from trainer.data_sets import DATA_SETS
from trainer.errors import DataError
from trainer.spec import TrialSpec

IMAGE_FIELDS = (
    "dataset",
    "data_id",
    "classes",
    "image_size",
    "shorter_side",
    "train_subset",
    "crop_padding",
    "normalisation",
)
"""What decides the images of a trial; their order and augmentation are decided in each batch."""

Batch = tuple[Tensor, Tensor]
"""Images [b, 3, side, side] fp32 (channels last in memory) and labels [b] int64, on the device."""


class Training(Protocol):
    """The training split."""

    @property
    def spec(self) -> TrialSpec:
        """The trial whose order and augmentation the batches have."""

    @property
    def count(self) -> int:
        """Number of images."""

    def of(self, spec: TrialSpec) -> Training:
        """The same images in the order and with the augmentation of another trial."""

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` (from 1) from `first_step` on; the last, short one is kept."""


class Evaluation(Protocol):
    """The test split."""

    @property
    def count(self) -> int:
        """Number of images."""

    def batches(self) -> Iterator[Batch]:
        """All images once, in their own order, unaugmented."""


@dataclass(frozen=True)
class Data:
    train: Training
    test: Evaluation
    digest: str
    decoder: str = ""
    """What decodes the images while training, with its version; empty: they are in memory."""

    def of(self, spec: TrialSpec) -> Data | None:
        """These images, held once, for another trial; None where it needs others."""
        here = self.train.spec
        if any(getattr(spec, name) != getattr(here, name) for name in IMAGE_FIELDS):
            return None
        return replace(self, train=self.train.of(spec))


@dataclass(frozen=True)
class ResidentTraining:
    """Training batches out of images that lie on the device."""

    images: Resident
    spec: TrialSpec

    @property
    def count(self) -> int:
        return self.images.count

    def of(self, spec: TrialSpec) -> ResidentTraining:
        return replace(self, spec=spec)

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        size = self.spec.batch_size
        plan = self.images.plan(self.spec, epoch)
        batches = (
            self.images.training_batch(plan, first, min(first + size, self.count))
            for first in range(first_step * size, self.count, size)
        )
        return augmented(batches, self.spec, epoch, first_step)


@dataclass(frozen=True)
class ResidentEvaluation:
    """Test batches out of images that lie on the device."""

    images: Resident
    batch: int

    @property
    def count(self) -> int:
        return self.images.count

    def batches(self) -> Iterator[Batch]:
        for first in range(0, self.count, self.batch):
            yield self.images.plain_batch(first, min(first + self.batch, self.count))


def load(
    spec: TrialSpec,
    root: Path,
    device: torch.device | None = None,
    workers: int = 2,
    decoder: Literal["auto", "pil", "torchcodec"] = "auto",
) -> Data:
    """The data of `spec` under the folder `root`, checked, on `device` (the CPU by default).

    `workers` processes decode folders of images with `decoder`; data sets that fit in memory need
    neither.

    Raises DataError where data is missing, damaged or does not fit the spec.
    """
    place = device or torch.device("cpu")
    data_set = DATA_SETS[spec.dataset]
    if data_set.storage == "folder":
        return _folder_data(spec, root, place, Decoders(workers), choose(decoder))
    prepared = arrays(spec, root)
    train, test = prepared.train, prepared.test
    if data_set.storage != "generated" and spec.train_subset > len(train.labels):
        raise DataError(
            f"data set {spec.dataset}: {len(train.labels)} training images, "
            f"train_subset: {spec.train_subset}"
        )
    if spec.train_subset:
        train = Arrays(train.images[: spec.train_subset], train.labels[: spec.train_subset])
    return Data(
        ResidentTraining(_resident(train, spec, spec.crop_padding, place), spec),
        ResidentEvaluation(_resident(test, spec, 0, place), data_set.evaluation_batch),
        prepared.digest,
    )


def _folder_data(
    spec: TrialSpec, root: Path, device: torch.device, decoders: Decoders, decoder: Decoder
) -> Data:
    """From the copy that `bnsweep prepare` made, if there is one, else from the folder itself."""
    train: Listing | StoredListing
    test: Listing | StoredListing
    if prepared := prepared_images.find(spec, root):
        train, test = prepared.train, prepared.test
        digest, decoded_by = prepared.digest, prepared.decoder
    else:
        files = image_folder.scan(spec, root)
        digest, decoded_by = image_folder.digest(files, root, decoders), described(decoder)
        train, test = (
            replace(split, decoder=decoder, shorter_side=spec.shorter_side) for split in files
        )
    if spec.train_subset > len(train.labels):
        raise DataError(
            f"{image_folder.folder_of(spec, root)}: {len(train.labels)} images, "
            f"train_subset: {spec.train_subset}"
        )
    if spec.train_subset:
        train = train.first(spec.train_subset)
    normalise = Normaliser.of(spec.normalisation, device)
    source = Source(train, digest, decoded_by, spec.shorter_side, decoders, normalise, device)
    return Data(
        image_folder.FolderTraining(source, spec),
        image_folder.FolderEvaluation(replace(source, listing=test), spec),
        digest,
        decoded_by,
    )


def _resident(split: Arrays, spec: TrialSpec, padding: int, device: torch.device) -> Resident:
    pixels, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    normalise = Normaliser.of(spec.normalisation, device)
    return Resident(pixels.to(device), labels.to(device), padding, normalise)
