from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from trainer.data.crops import ATTEMPTS, centre_crop, random_box, random_resized_crop


def picture(width: int, height: int) -> Image.Image:
    draw = np.random.default_rng(0)
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))


def boxes(
    width: int, height: int, count: int = 500, least: float = 0.1
) -> list[tuple[int, int, int, int]]:
    draw = np.random.default_rng(0)
    return [
        random_box(width, height, draw.random(4 * ATTEMPTS).tolist(), least) for _ in range(count)
    ]


def test_boxes_lie_within_the_image_and_have_the_recipe_s_areas_and_shapes() -> None:
    for left, top, right, bottom in boxes(200, 150):
        assert 0 <= left < right <= 200
        assert 0 <= top < bottom <= 150
        width, height = right - left, bottom - top
        assert 0.095 < width * height / 30_000 <= 1
        assert 0.79 < width / height < 1.27


def test_boxes_spread_over_areas_and_places() -> None:
    areas = [(r - x) * (b - y) / 30_000 for x, y, r, b in boxes(200, 150)]
    assert min(areas) < 0.15
    assert max(areas) > 0.8
    assert len({box[:2] for box in boxes(200, 150)}) > 400


@pytest.mark.parametrize("least", [0.01, 0.5, 1.0])
def test_boxes_have_the_least_share_of_the_area_that_is_asked_for(least) -> None:
    areas = [(r - x) * (b - y) / 40_000 for x, y, r, b in boxes(200, 200, least=least)]
    assert least - 0.02 < min(areas) < least + 0.05


def test_an_image_that_no_box_fits_gives_its_middle() -> None:
    assert set(boxes(1000, 10, 20)) == {(494, 0, 506, 10)}


@pytest.mark.parametrize(("width", "height"), [(64, 64), (90, 50), (50, 91), (20, 33)])
def test_the_test_crop_is_torchvision_s(width, height) -> None:
    expected = v2.CenterCrop(28)(v2.Resize(32)(picture(width, height)))
    assert np.array_equal(centre_crop(picture(width, height), 28), np.asarray(expected))


def test_a_random_crop_has_the_side_asked_for_and_depends_on_the_random_numbers_alone() -> None:
    first, again, other = (
        random_resized_crop(
            picture(60, 40), 24, np.random.default_rng(seed).random(40).tolist(), 0.1
        )
        for seed in (1, 1, 2)
    )
    assert first.shape == (24, 24, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
