"""Images that are kept back for validation: the same for all trials, and trained on by none."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_packs import bits, pack
from small_trials import digits, numbers, small
from torch import Tensor

from trainer import checkpoint
from trainer.__main__ import main
from trainer.data import in_memory, splits
from trainer.data.in_memory import Arrays
from trainer.data.prepared_images import StoredListing
from trainer.data.validation import chosen
from trainer.data_sets import DATA_SETS, DataSet
from trainer.errors import DataError, Stopped
from trainer.files import write_json
from trainer.packs.pack_training import train_pack
from trainer.spec import TrialSpec
from trainer.train import Options, train

PLAIN: dict[str, Any] = {"normalisation": "none", "flip": False}
PETS = TrialSpec(
    dataset="image_folder", data_id="pets", classes=2, image_size=28, shorter_side=32, depth=8,
    epochs=1, batch_size=8, validation=6,
)  # fmt: skip


def as_set(batches: Any) -> Counter[bytes]:
    """The images, each with its label, in any order."""
    pairs = [pair for images, labels in batches for pair in zip(images, labels, strict=True)]
    return Counter(image.numpy().tobytes() + bytes([int(label)]) for image, label in pairs)


def labels_of(batches: Any) -> Tensor:
    return torch.cat([labels for _, labels in batches])


# --- which images ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(100, 100, 100), (7, 300, 40), (1, 2, 3, 500)], ids=str)
@pytest.mark.parametrize("count", [1, 10, 100, 280])
def test_each_class_has_its_share_give_or_take_an_image(sizes, count) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    found = np.bincount(labels[chosen(labels, count)], minlength=len(sizes))
    assert found.sum() == count
    shares = np.array(sizes) * count / len(labels)
    assert (abs(found - shares) <= 1).all()
    assert (found < sizes).all()


def test_more_images_are_these_and_others() -> None:
    labels = np.arange(1000) % 7
    few, more = set(chosen(labels, 100)), set(chosen(labels, 300))
    assert few < more
    assert more != set(range(300))


def test_which_images_it_is_stays_for_ever() -> None:
    """A trial that goes on under other versions must not train on what it was validated by."""
    assert chosen(np.arange(40) % 4, 8).tolist() == [13, 21, 22, 27, 32, 36, 38, 39]


@pytest.mark.parametrize("fields", [{}, {"crop_padding": 0}], ids=str)
def test_every_training_image_is_trained_on_or_kept_back_and_no_seed_changes_which(
    fields, tmp_path: Path
) -> None:
    plain = digits(**PLAIN, crop_padding=0)
    whole = as_set(splits.load(plain, tmp_path).train.batches(1))
    kept = splits.load(digits(**PLAIN, validation=200, seed=3, **fields), tmp_path)
    assert kept.validation is not None
    validation = as_set(kept.validation.batches())
    trained = splits.load(plain.changed(validation=200), tmp_path).train
    assert as_set(trained.batches(1)) + validation == whole
    assert (kept.train.count, kept.validation.count, kept.test.count) == (1237, 200, 360)
    assert set(labels_of(kept.validation.batches()).bincount().tolist()) <= {19, 20, 21}


def test_a_subset_is_of_the_images_that_are_not_kept_back(tmp_path: Path) -> None:
    spec = digits(**PLAIN, crop_padding=0, validation=200)
    whole, part = (splits.load(s, tmp_path) for s in (spec, spec.changed(train_subset=100)))
    assert part.train.count == 100
    assert as_set(part.train.batches(1)) < as_set(whole.train.batches(1))
    assert part.validation is not None
    assert whole.validation is not None
    assert as_set(part.validation.batches()) == as_set(whole.validation.batches())


def test_generated_images_are_made_beside_those_that_are_trained_on(tmp_path: Path) -> None:
    data = splits.load(small(validation=30), tmp_path)
    assert data.validation is not None
    assert (data.train.count, data.validation.count) == (200, 30)
    data = splits.load(small(train_subset=0, validation=30), tmp_path)
    assert data.train.count == DATA_SETS["synthetic"].train_images - 30


def test_a_set_that_is_prepared_once_for_all_trials_is_split_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(
        DATA_SETS, "kept", DataSet("download", 10, 8, 1437, 360, read=in_memory.digits)
    )
    spec = digits(**PLAIN, validation=200)
    here = splits.load(spec, tmp_path)
    mapped = splits.load(spec.changed(dataset="kept"), tmp_path)
    assert (tmp_path / "prepared" / "kept-pad1").is_dir()
    for one, other in zip(here.train.batches(1), mapped.train.batches(1), strict=True):
        assert all(map(torch.equal, one, other))
    assert here.validation is not None
    assert mapped.validation is not None
    assert as_set(here.validation.batches()) == as_set(mapped.validation.batches())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"validation": 30}, r"found validation: 30; allowed: up to 22 of its 24 training images"),
        ({"validation": 6, "train_subset": 19}, "24 training images, validation: 6, train_subset"),
    ],
)
def test_more_images_than_the_data_has_are_refused(fields, message, pets: Path) -> None:
    with pytest.raises(DataError, match=message):
        splits.load(PETS.changed(**fields), pets, workers=0)


# --- folders of images ----------------------------------------------------------------------------


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """24 training and 6 test images of two classes, each of a colour of its own."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 3)):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 60, (36, 40, 3), dtype=np.uint8)
                pixels[..., label] += 190
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path


def test_a_folder_and_its_prepared_copy_keep_back_the_same_images(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = splits.load(PETS, pets, workers=0)
    assert (folder.train.count, folder.test.count) == (18, 6)
    assert folder.validation is not None
    assert labels_of(folder.validation.batches()).bincount().tolist() == [3, 3]
    files, kept = (set(split.source.listing.files) for split in (folder.train, folder.validation))
    assert len(files | kept) == 24
    pixels = [list(folder.train.batches(1)), list(folder.validation.batches())]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"[{PETS.model_dump_json()}]"))
    assert main(["prepare", "--data", str(pets), "--decoders", "1"]) == 0
    copy = splits.load(PETS, pets, workers=0)
    assert isinstance(copy.train.source.listing, StoredListing)
    assert copy.validation is not None
    for batches, expected in zip(
        (copy.train.batches(1), copy.validation.batches()), pixels, strict=True
    ):
        for one, other in zip(batches, expected, strict=True):
            assert all(map(torch.equal, one, other))


def test_splits_of_as_many_images_share_no_decoded_ones(pets: Path) -> None:
    """Trials of a node find each other's chunks by name: equal names must mean equal pixels."""
    kept = splits.load(PETS, pets, workers=0)
    subset = splits.load(PETS.changed(validation=0, train_subset=18), pets, workers=0)
    assert kept.train.count == subset.train.count
    assert kept.train.source.stream("augmented") != subset.train.source.stream("augmented")
    assert kept.validation is not None
    assert kept.validation.count == kept.test.count
    assert kept.validation.source.stream("plain") != kept.test.source.stream("plain")


def test_a_folder_trains_with_decoders_of_its_own(pets: Path, tmp_path: Path) -> None:
    options = Options(data=pets, device="cpu", decoders=2)
    result = train(PETS.changed(lr=0.05, epochs=4), tmp_path / "t", options=options)
    assert result.metrics["validation/accuracy"] > 60
    assert result.history[-1].step == 4 * 3


# --- trials ---------------------------------------------------------------------------------------


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> TrialSpec:
    """The digits without what 200 images of validation keep back, which are the test images."""

    def read(spec: TrialSpec, root: Path) -> in_memory.Splits:
        train, _ = in_memory.digits(digits(), root)
        kept = chosen(train.labels, 200)
        rest = np.delete(np.arange(len(train.labels)), kept)
        return tuple(Arrays(train.images[part], train.labels[part]) for part in (rest, kept))  # type: ignore[return-value]

    monkeypatch.setitem(DATA_SETS, "apart", DataSet("bundled", 10, 8, 1237, 200, read=read))
    return digits(dataset="apart", epochs=1)


def test_training_never_sees_the_images_that_are_kept_back(
    apart: TrialSpec, tmp_path: Path, options: Options
) -> None:
    """The bits are those of a data set that does not have them, whose test images they are."""
    other = train(apart, tmp_path / "apart", options=options)
    ours = train(
        apart.changed(dataset="digits", validation=200), tmp_path / "ours", options=options
    )
    assert ours.digests["final"] == other.digests["final"]
    for one, record in zip(other.history, ours.history, strict=True):
        for name in ("loss", "accuracy", "accuracy_top5"):
            assert record.metrics[f"validation/{name}"] == one.metrics[f"test/{name}"]
            assert f"test/{name}" in record.metrics


def test_without_validation_nothing_is_named_after_it(tmp_path: Path, options: Options) -> None:
    result = train(small(), tmp_path, options=options)
    assert not any(name.startswith("validation") for name in result.metrics)


def test_a_resume_and_several_processes_have_the_bits_of_one(
    tmp_path: Path, options: Options
) -> None:
    spec = small(validation=30, bn_batch=16)
    whole = train(spec, tmp_path / "whole", options=options)
    polls = iter(range(100))
    stopping = replace(options, poll=lambda: next(polls) == 6)
    with pytest.raises(Stopped):
        train(spec, tmp_path / "1", options=stopping)
    resume = checkpoint.find([tmp_path / "1"], spec)
    two = replace(options, processes=2)
    resumed = train(spec, tmp_path / "2", attempt=2, resume=resume, options=two)
    assert numbers(resumed) == numbers(whole)
    assert "validation/loss" in whole.metrics


@pytest.mark.parametrize("trainable", ["output_only", "bn_only"])
def test_members_of_a_pack_have_the_bits_of_trials_alone(
    trainable: str, tmp_path: Path, options: Options
) -> None:
    specs = [small(trainable=trainable, validation=30, lr=lr) for lr in (0.1, 0.02)]
    together = train_pack(pack(specs, tmp_path), options)
    for number, spec in enumerate(specs):
        alone = train(spec, tmp_path / f"alone {number}", options=options)
        assert bits(together[number]) == numbers(alone)
        assert "validation/accuracy" in alone.metrics


def test_the_command_prints_both_accuracies(tmp_path: Path, capsys) -> None:
    write_json(tmp_path / "spec.json", small(validation=30, epochs=1))
    assert main(["train", str(tmp_path / "spec.json"), "--out", str(tmp_path / "out")]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.index("train loss") < line.index("validation loss") < line.index("test loss")
