"""A trial's data: splits that give batches on the device, and the digest of their content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from trainer.data import image_folder, prepared_images
from trainer.data.augment import Normaliser, Resident, augmented
from trainer.data.decoders import Decoders
from trainer.data.decoding import Decoder, choose, described
from trainer.data.image_folder import Listing, Source
from trainer.data.in_memory import Arrays, arrays
from trainer.data.prepared_images import StoredListing
from trainer.data.validation import Indices, divide
from trainer.data_sets import DATA_SETS
from trainer.spec import TrialSpec

IMAGE_FIELDS = (
    "dataset",
    "data_id",
    "classes",
    "image_size",
    "shorter_side",
    "train_subset",
    "validation",
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
    """The test images, or those for validation."""

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
    """Of the whole data set, however it is split."""
    decoder: str = ""
    """What decodes the images while training, with its version; empty: they are in memory."""
    validation: Evaluation | None = None
    """Training images that are never trained on."""

    @property
    def evaluated(self) -> dict[str, Evaluation]:
        """What is evaluated after each epoch, by the name that its metrics begin with."""
        return {"test": self.test} | ({"validation": self.validation} if self.validation else {})

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
    """Unaugmented batches out of images that lie on the device."""

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
    images, batch = prepared.train, data_set.evaluation_batch
    train, validation = divide(images.labels, spec, f"data set {spec.dataset}")
    return Data(
        ResidentTraining(_training(images, train, spec, place), spec),
        ResidentEvaluation(_resident(prepared.test, spec, 0, place), batch),
        prepared.digest,
        validation=ResidentEvaluation(
            _resident(_without_padding(images, validation, spec), spec, 0, place), batch
        )
        if spec.validation
        else None,
    )


def _folder_data(
    spec: TrialSpec, root: Path, device: torch.device, decoders: Decoders, decoder: Decoder
) -> Data:
    """From the copy that `bnsweep prepare` made, if there is one, else from the folder itself."""
    images: Listing | StoredListing
    test: Listing | StoredListing
    if prepared := prepared_images.find(spec, root):
        images, test = prepared.train, prepared.test
        digest, decoded_by = prepared.digest, prepared.decoder
    else:
        files = image_folder.scan(spec, root)
        digest, decoded_by = image_folder.digest(files, root, decoders), described(decoder)
        images, test = (
            replace(split, decoder=decoder, shorter_side=spec.shorter_side) for split in files
        )
    train, validation = divide(images.labels, spec, str(image_folder.folder_of(spec, root)))
    normalise = Normaliser.of(spec.normalisation, device)

    def source(listing: Listing | StoredListing, split: str) -> Source:
        side = spec.shorter_side
        return Source(listing, split, digest, decoded_by, side, decoders, normalise, device)

    kept = source(images.only(validation), f"validation {spec.validation}")
    return Data(
        image_folder.FolderTraining(source(images.only(train), f"train {spec.validation}"), spec),
        image_folder.FolderEvaluation(source(test, "test"), spec),
        digest,
        decoded_by,
        image_folder.FolderEvaluation(kept, spec) if spec.validation else None,
    )


def _training(images: Arrays, members: Indices, spec: TrialSpec, device: torch.device) -> Resident:
    """The images up to the last that is trained on; the device need not hold the others."""
    end = int(members.max(initial=-1)) + 1
    first = Arrays(images.images[:end], images.labels[:end])
    resident = _resident(first, spec, spec.crop_padding, device)
    some = torch.from_numpy(members) if len(members) < end else None
    return replace(resident, members=some)


def _without_padding(images: Arrays, members: Indices, spec: TrialSpec) -> Arrays:
    inner = slice(spec.crop_padding, images.images.shape[1] - spec.crop_padding)
    pixels = np.ascontiguousarray(images.images[members][:, inner, inner])
    return Arrays(pixels, images.labels[members])


def _resident(split: Arrays, spec: TrialSpec, padding: int, device: torch.device) -> Resident:
    pixels, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    normalise = Normaliser.of(spec.normalisation, device)
    return Resident(pixels.to(device), labels.to(device), padding, normalise)
