from __future__ import annotations

import torch
from small_trials import small
from torch import Tensor

from trainer.data.augment import IMAGENET_MEAN, IMAGENET_STD, Normaliser, Resident


def resident(kind: str = "none", padding: int = 2, count: int = 10) -> Resident:
    side = 6 + 2 * padding
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, side, side, 3), generator=draw).to(torch.uint8)
    return Resident(pixels, torch.arange(count), padding, Normaliser.of(kind, torch.device("cpu")))


def sliced(images: Resident, image: int, top: int, left: int) -> Tensor:
    return images.pixels[image, top : top + 6, left : left + 6]


def test_a_gathered_crop_is_the_slice() -> None:
    images = resident()
    places = [(0, 0, 0), (9, 4, 4), (3, 1, 2)]
    corners = torch.tensor([(n * 10 + top) * 10 + left for n, top, left in places])
    crops = images.crop(corners)
    for crop, place in zip(crops, places, strict=True):
        assert torch.equal(crop, sliced(images, *place))


def test_a_training_batch_is_crops_of_its_images_half_of_them_mirrored() -> None:
    images = resident(count=200)
    plan = images.plan(small(), epoch=1)
    batch, labels = images.training_batch(plan, 50, 114)
    mirrored = 0
    for row, label in enumerate(labels.tolist()):
        found = (batch[row].permute(1, 2, 0) * 255).round().to(torch.uint8)
        crops = [sliced(images, label, top, left) for top in range(5) for left in range(5)]
        straight = any(torch.equal(found, crop) for crop in crops)
        mirrored += not straight
        assert straight or any(torch.equal(found.flip(1), crop) for crop in crops)
    assert 16 < mirrored < 48


def test_every_epoch_holds_every_image_once_in_an_order_of_its_own() -> None:
    images = resident(count=50)
    first, second = images.plan(small(), 1), images.plan(small(), 2)
    assert sorted(first.images.tolist()) == list(range(50))
    assert not torch.equal(first.images, second.images)


def test_a_batch_is_a_function_of_seed_epoch_and_position_alone() -> None:
    images = resident(count=50)
    whole = images.training_batch(images.plan(small(), 3), 0, 50)[0]
    images.plan(small(), 1)
    part = images.training_batch(images.plan(small(trainable="bn_only"), 3), 20, 30)[0]
    assert torch.equal(part, whole[20:30])
    other = images.training_batch(images.plan(small(seed=1), 3), 20, 30)[0]
    assert not torch.equal(part, other)


def test_no_flip_and_no_padding_leave_the_images_as_they_are() -> None:
    images = resident(padding=0)
    plan = images.plan(small(flip=False), 1)
    batch, labels = images.training_batch(plan, 0, 10)
    plain = torch.cat([images.plain_batch(int(n), int(n) + 1)[0] for n in labels])
    assert torch.equal(batch, plain)


def test_imagenet_normalisation_subtracts_the_mean_and_divides_by_the_deviation() -> None:
    images = resident("imagenet", padding=0)
    batch, _ = images.plain_batch(0, 4)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    expected = (images.pixels[:4].permute(0, 3, 1, 2) / 255 - mean) / std
    torch.testing.assert_close(batch, expected)
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_brightness_shifts_each_image_by_one_value_and_clips() -> None:
    images = resident(padding=0, count=50)
    plan = images.plan(small(flip=False, brightness=0.5), 1)
    batch, labels = images.training_batch(plan, 0, 50)
    plain = images.pixels[labels].permute(0, 3, 1, 2) / 255
    shifts = plan.brightness.view(-1)
    assert -0.5 <= shifts.min() < -0.3
    assert 0.3 < shifts.max() <= 0.5
    expected = (plain + plan.brightness).clamp(0, 1)
    torch.testing.assert_close(batch, expected)


def test_brightness_is_applied_before_the_normalisation() -> None:
    images = resident("imagenet", padding=0, count=50)
    plan = images.plan(small(flip=False, brightness=0.5), 1)
    batch, labels = images.training_batch(plan, 0, 50)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    bright = (images.pixels[labels].permute(0, 3, 1, 2) / 255 + plan.brightness).clamp(0, 1)
    torch.testing.assert_close(batch, (bright - mean) / std, rtol=1e-5, atol=1e-5)
