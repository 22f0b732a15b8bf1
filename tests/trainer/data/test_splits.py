from __future__ import annotations

import pytest
import torch
from small_trials import digits, small

from trainer.data import splits


def test_digits_are_1437_and_360_images_in_equal_class_shares(tmp_path) -> None:
    loaded = splits.load(digits(), tmp_path)
    assert (loaded.train.count, loaded.test.count) == (1437, 360)
    images, labels = (torch.cat(part) for part in zip(*loaded.test.batches(), strict=True))
    assert images.shape == (360, 3, 8, 8)
    assert set(labels.bincount().tolist()) <= {35, 36, 37}


def test_digits_are_grey_and_use_the_whole_range_of_a_byte(tmp_path) -> None:
    spec = digits(normalisation="none")
    images = torch.cat([images for images, _ in splits.load(spec, tmp_path).test.batches()])
    assert torch.equal(images[:, 0], images[:, 2])
    assert (images.min(), images.max()) == (0, 1)


def test_the_last_short_batch_is_kept(tmp_path) -> None:
    batches = list(splits.load(small(), tmp_path).train.batches(epoch=1))
    assert [len(labels) for _, labels in batches] == [64, 64, 64, 8]


def test_batches_can_begin_at_any_step_of_an_epoch(tmp_path) -> None:
    train = splits.load(small(), tmp_path).train
    whole = list(train.batches(epoch=2))
    rest = list(train.batches(epoch=2, first_step=2))
    assert len(rest) == 2
    assert torch.equal(rest[0][0], whole[2][0])


def test_a_subset_is_the_first_images_in_file_order(tmp_path) -> None:
    whole = splits.load(digits(), tmp_path)
    part = splits.load(digits(train_subset=100), tmp_path)
    assert part.train.count == 100
    assert torch.equal(part.train.images.labels, whole.train.images.labels[:100])
    assert part.digest == whole.digest


def test_the_digest_does_not_depend_on_how_images_are_augmented(tmp_path) -> None:
    digests = {
        splits.load(small(crop_padding=0), tmp_path).digest,
        splits.load(small(crop_padding=2, flip=False), tmp_path).digest,
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 1},
        {"flip": False},
        {"brightness": 0.25},
        {"batch_size": 50},
        {"trainable": "bn_only", "lr": 0.01},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_trials_share_the_images_and_have_batches_of_their_own(fields, tmp_path) -> None:
    loaded, spec = splits.load(small(), tmp_path), small(**fields)
    shared = loaded.of(spec)
    assert shared.train.images is loaded.train.images
    own = splits.load(spec, tmp_path)
    assert shared.digest == own.digest
    for split in ("train", "test"):
        found, expected = (_batches(getattr(whole, split)) for whole in (shared, own))
        assert len(found) == len(expected) > 0
        assert all(map(torch.equal, found, expected))


def _batches(split) -> list[torch.Tensor]:
    batches = split.batches(1) if hasattr(split, "of") else split.batches()
    return [tensor for batch in batches for tensor in batch]


@pytest.mark.parametrize(
    "fields",
    [
        {"dataset": "digits", "image_size": 0, "train_subset": 0},
        {"image_size": 16},
        {"classes": 5},
        {"train_subset": 100},
        {"validation": 20},
        {"crop_padding": 2},
        {"normalisation": "none"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_trial_with_other_images_shares_none(fields, tmp_path) -> None:
    assert splits.load(small(), tmp_path).of(small(**fields)) is None
