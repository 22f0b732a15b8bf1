"""One generated tree in each layout: all hold the same images, so all give the same listing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision import datasets as tv

from trainer.data import decoding, layouts, splits
from trainer.errors import DataError
from trainer.spec import TrialSpec

WNIDS = ("n01440764", "n01443537", "n02085620")
SPEC = TrialSpec(
    dataset="image_folder", data_id="imagenet", classes=3, image_size=32, depth=8, epochs=1,
    batch_size=4,
)  # fmt: skip
VAL_CLASSES = (2, 0, 1, 1, 0, 2)
"""Of the flat validation images, in the order of their names."""


def val_name(number: int) -> str:
    return f"ILSVRC2012_val_{number + 1:08d}.JPEG"


def picture(path: Path, colour: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((40, 50, 3), 40, np.uint8)
    pixels[..., colour] = 220
    Image.fromarray(pixels).save(path, "JPEG")


def training_images(images: Path) -> None:
    for label, wnid in enumerate(WNIDS):
        for number in range(4):
            picture(images / "train" / wnid / f"{wnid}_{number}.JPEG", label)


def flat_validation(images: Path) -> None:
    for number, label in enumerate(VAL_CLASSES):
        picture(images / "val" / val_name(number), label)


def kaggle(folder: Path) -> None:
    images = folder / "ILSVRC" / "Data" / "CLS-LOC"
    training_images(images)
    flat_validation(images)
    (images / "test").mkdir()
    lines = [
        f"{Path(val_name(n)).stem},{WNIDS[label]} 111 108 441 193 {WNIDS[label]} 1 2 3 4"
        for n, label in reversed(list(enumerate(VAL_CLASSES)))
    ]
    (folder / "LOC_val_solution.csv").write_text(
        "\n".join(["ImageId,PredictionString", *lines]) + "\n"
    )


def devkit(folder: Path) -> None:
    training_images(folder)
    flat_validation(folder)
    data = folder / layouts.DEVKIT / "data"
    data.mkdir(parents=True)
    numbers = {2: 1, 0: 2, 1: 3}  # the devkit's own, which are not in the order of the wnids
    kinds = [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("words", "O"), ("gloss", "O"),
             ("num_children", "i4")]  # fmt: skip
    leaves = [(numbers[label], wnid, "w", "g", 0) for label, wnid in enumerate(WNIDS)]
    inner = [(1001, "n00001740", "entity", "g", 3)]
    savemat(data / "meta.mat", {"synsets": np.array(sorted(leaves) + inner, kinds)})
    truth = data / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("".join(f"{numbers[label]}\n" for label in VAL_CLASSES))


def class_folders(folder: Path) -> None:
    training_images(folder)
    for number, label in enumerate(VAL_CLASSES):
        picture(folder / "val" / WNIDS[label] / val_name(number), label)


def names(folder: Path) -> None:
    training_images(folder)
    flat_validation(folder)
    lines = [f"val/{val_name(n)} {WNIDS[label]}" for n, label in enumerate(VAL_CLASSES)]
    (folder / "val.txt").write_text("\n".join(lines) + "\n")


def numbers(folder: Path) -> None:
    training_images(folder)
    flat_validation(folder)
    lines = [f"{val_name(n)} {label}" for n, label in enumerate(VAL_CLASSES)]
    (folder / "val.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (class_folders, "class folders, 12 training and 6 test images of 3 classes"),
        (kaggle, "Kaggle's layout, flat val/ with LOC_val_solution.csv, 12 training"),
        (devkit, "flat val/ with ILSVRC2012_validation_ground_truth.txt, 12 training"),
        (names, "flat val/ with val.txt, 12 training"),
        (numbers, "flat val/ with val.txt, 12 training"),
    ],
)
def test_each_layout_gives_the_same_images_with_the_same_labels(tmp_path, make, said) -> None:
    folder = tmp_path / "imagenet"
    make(folder)
    found = layouts.find(folder)
    assert found.classes == list(WNIDS)
    assert said in str(found)
    assert str(found).startswith(str(folder))
    data = splits.load(SPEC.changed(normalisation="none"), tmp_path, workers=0)
    assert (data.train.count, data.test.count) == (12, 6)
    for images, labels in [*data.train.batches(1), *data.test.batches()]:
        assert images.mean((2, 3)).argmax(1).tolist() == labels.tolist()


def test_class_folders_are_those_of_torchvision(tmp_path) -> None:
    class_folders(tmp_path)
    stock = tv.ImageFolder(str(tmp_path / "val"))
    found = layouts.find(tmp_path)
    assert found.classes == stock.classes
    assert [(f"{tmp_path}/{file}", stock.class_to_idx[name]) for file, name in found.test] == (
        stock.samples
    )


def test_a_flat_folder_that_nothing_explains_says_what_is_missing(tmp_path) -> None:
    names(tmp_path)
    (tmp_path / "val.txt").unlink()
    with pytest.raises(DataError, match=r"6 images without class folders.*LOC_val_solution\.csv"):
        layouts.find(tmp_path)


def test_an_image_that_the_ground_truth_lacks_or_misnames_is_named(tmp_path) -> None:
    names(tmp_path)
    lines = (tmp_path / "val.txt").read_text().splitlines()
    (tmp_path / "val.txt").write_text("\n".join(lines[1:]))
    with pytest.raises(DataError, match=r"says nothing of .*val_00000001\.JPEG"):
        layouts.find(tmp_path)
    (tmp_path / "val.txt").write_text("\n".join([*lines[1:], f"{val_name(0)} n09999999"]))
    with pytest.raises(DataError, match="is of class n09999999, which train/ does not have"):
        layouts.find(tmp_path)


def test_a_devkit_of_another_length_is_named(tmp_path) -> None:
    devkit(tmp_path)
    picture(tmp_path / "val" / val_name(6), 0)
    with pytest.raises(DataError, match=r"ground_truth\.txt: cannot be read \(6 lines for 7"):
        layouts.find(tmp_path)


def test_a_missing_folder_beside_the_archives_says_who_unpacks_them(tmp_path) -> None:
    (tmp_path / "ILSVRC2012_img_val.tar").touch()
    with pytest.raises(DataError, match=r"train: no such folder.*bnsweep prepare"):
        layouts.find(tmp_path)


def test_cmyk_and_png_in_jpeg_files_decode_as_torchvision_does(tmp_path) -> None:
    draw = np.random.default_rng(0)
    four, hidden = tmp_path / "cmyk.JPEG", tmp_path / "png.JPEG"
    Image.fromarray(draw.integers(0, 256, (40, 50, 4), dtype=np.uint8), "CMYK").save(four, "JPEG")
    Image.fromarray(draw.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(hidden, "PNG")
    for path in (four, hidden):
        ours, stock = decoding.open_image(path), tv.folder.pil_loader(str(path))
        assert ours.tobytes() == stock.tobytes()


def test_what_a_mac_leaves_beside_the_images_is_no_image(tmp_path) -> None:
    class_folders(tmp_path)
    before = str(layouts.find(tmp_path))
    shutil.copy(__file__, tmp_path / "train" / WNIDS[0] / "._n01440764_0.JPEG")
    assert str(layouts.find(tmp_path)) == before
