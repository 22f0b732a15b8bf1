from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.data import image_folder, splits
from trainer.data.layouts import PREPARED
from trainer.errors import DataError
from trainer.spec import TrialSpec
from trainer.train import Options, train

CLASSES = ("ant", "bee", "cow")
SPEC = TrialSpec(
    dataset="image_folder",
    data_id="zoo",
    classes=3,
    image_size=32,
    depth=8,
    epochs=1,
    batch_size=8,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes, each of a colour of its own: 6 training and 2 test images of mixed sizes."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for label, name in enumerate(CLASSES):
            folder = tmp_path / "zoo" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 60, (40 + number, 50, 3), dtype=np.uint8)
                pixels[..., label] += 190
                suffix = "png" if number % 2 else "jpeg"
                Image.fromarray(pixels).save(folder / f"{number}.{suffix}")
    return tmp_path


def load(root: Path, spec: TrialSpec = SPEC, workers: int = 0) -> splits.Data:
    return splits.load(spec, root, workers=workers)


def test_a_folder_of_images_trains_to_its_classes(root, tmp_path) -> None:
    options = Options(data=root, device="cpu", decoders=2)
    spec = SPEC.changed(epochs=6, lr=0.05, batch_size=6)
    result = train(spec, tmp_path / "t", options=options)
    assert result.metrics["test/accuracy"] > 60
    assert "test/accuracy_top5" not in result.metrics


def test_batches_have_the_colours_of_their_labels_in_any_number_of_workers(root) -> None:
    spec = SPEC.changed(normalisation="none")
    here, workers = load(root, spec), load(root, spec, workers=2)
    pairs = list(zip(here.train.batches(1), workers.train.batches(1), strict=True))
    assert len(pairs) == 3
    for (images, labels), (same, _) in pairs:
        assert images.shape[1:] == (3, 32, 32)
        assert torch.equal(images.mean((2, 3)).argmax(1), labels)
        assert torch.equal(images, same)


def test_epochs_differ_and_can_be_entered_in_the_middle(root) -> None:
    train_split = load(root).train
    first, second = list(train_split.batches(1)), list(train_split.batches(2))
    assert [len(labels) for _, labels in first] == [8, 8, 2]
    assert not torch.equal(first[0][0], second[0][0])
    assert torch.equal(next(iter(train_split.batches(2, 2)))[0], second[2][0])


def test_a_subset_holds_all_classes_in_turn(root) -> None:
    labels = load(root, SPEC.changed(train_subset=6)).train.source.listing.labels
    assert labels == [0, 1, 2, 0, 1, 2]
    with pytest.raises(DataError, match="18 training images, train_subset: 100"):
        load(root, SPEC.changed(train_subset=100))


def test_another_trial_has_the_same_files_in_an_order_of_its_own(root) -> None:
    spec = SPEC.changed(seed=1, brightness=0.25)
    shared, own = load(root).of(spec), load(root, spec)
    assert shared is not None
    pairs = list(zip(shared.train.batches(1), own.train.batches(1), strict=True))
    assert len(pairs) == 3
    for (images, labels), (same, too) in pairs:
        assert torch.equal(images, same)
        assert torch.equal(labels, too)


def test_brightness_and_flip_follow_the_fields(root) -> None:
    plain = next(iter(load(root, SPEC.changed(flip=False)).train.batches(1)))[0]
    bright = next(iter(load(root, SPEC.changed(flip=False, brightness=0.5)).train.batches(1)))[0]
    flipped = next(iter(load(root).train.batches(1)))[0]
    assert not torch.equal(plain, bright)
    mirrored = [torch.equal(f, p.flip(-1)) for f, p in zip(flipped, plain, strict=True)]
    same = [torch.equal(f, p) for f, p in zip(flipped, plain, strict=True)]
    assert any(mirrored)
    assert any(same)
    assert all(m or s for m, s in zip(mirrored, same, strict=True))


def test_crops_follow_the_field_and_its_default_changes_no_id(root) -> None:
    first, default, larger = (
        next(iter(load(root, spec).train.batches(1)))[0]
        for spec in (SPEC, SPEC.changed(crop_scale=0.1), SPEC.changed(crop_scale=0.9))
    )
    assert torch.equal(first, default)
    assert not torch.equal(first, larger)
    assert SPEC.changed(crop_scale=0.1).trial_id == SPEC.trial_id
    assert SPEC.changed(crop_scale=0.9).trial_id != SPEC.trial_id
    with pytest.raises(ValueError, match="crop_scale"):
        TrialSpec(crop_scale=0.9)


def test_files_are_decoded_once_until_the_folder_changes(root) -> None:
    first = load(root).digest
    notes = list((root / PREPARED).glob("zoo-*.json"))
    assert len(notes) == 1
    before = notes[0].stat().st_mtime_ns
    assert load(root).digest == first
    assert notes[0].stat().st_mtime_ns == before
    path = root / "zoo" / "train" / "ant" / "1.png"
    Image.new("RGB", (40, 40)).save(path)
    os.utime(path, (1, 1))
    assert load(root).digest != first


def test_the_digest_is_of_contents_not_of_times(root) -> None:
    first = load(root).digest
    os.utime(root / "zoo" / "train" / "ant" / "1.png", (1, 1))
    assert load(root).digest == first


def test_corrupt_images_are_named_before_training(root) -> None:
    cut, text = root / "zoo/train/bee/0.jpeg", root / "zoo/val/cow/1.png"
    cut.write_bytes(cut.read_bytes()[:300])
    text.write_text("not an image")
    with pytest.raises(DataError) as caught:
        load(root, workers=1)
    assert "images that do not decode" in str(caught.value)
    assert str(cut) in str(caught.value)
    assert str(text) in str(caught.value)


def test_a_missing_folder_an_empty_class_and_a_strange_class_are_named(root) -> None:
    with pytest.raises(DataError, match="elsewhere/train: no such folder"):
        load(root, SPEC.changed(data_id="elsewhere"))
    extra = root / "zoo" / "train" / "dog"
    extra.mkdir()
    with pytest.raises(DataError, match="class dog is in only one of train/ and val/"):
        load(root)
    (root / "zoo" / "val" / "dog").mkdir()
    with pytest.raises(DataError, match="has 4 classes, but classes: 3"):
        load(root)
    with pytest.raises(DataError, match=f"{extra}: no images in this class"):
        load(root, SPEC.changed(classes=4))


def test_imagenet_lies_in_a_folder_of_its_name(tmp_path) -> None:
    spec = TrialSpec(dataset="imagenet", model="imagenet_resnet", depth=18)
    assert image_folder.folder_of(spec, tmp_path) == tmp_path / "imagenet"
    with pytest.raises(DataError, match="imagenet/train: no such folder"):
        load(tmp_path, spec)
