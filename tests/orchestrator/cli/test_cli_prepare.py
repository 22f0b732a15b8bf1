"""prepare: the folders that a sweep needs, from the command line to the copy that trials read."""

from __future__ import annotations

import pytest
from PIL import Image

SWEEP = """\
name: zoo
base: {dataset: image_folder, data_id: zoo, classes: 2, image_size: 28, depth: 8, epochs: 1}
axes: {trainable: [all, bn_only]}
"""


@pytest.fixture
def sweep(tmp_path):
    for split in ("train", "val"):
        for name in ("ant", "bee"):
            folder = tmp_path / "data" / "zoo" / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (50, 40), (number, 0, 0)).save(folder / f"{number}.png")
    path = tmp_path / "zoo.yaml"
    path.write_text(SWEEP)
    return path


def test_a_sweep_s_images_are_looked_at_and_kept_reduced(bnsweep, sweep, tmp_path, monkeypatch):
    data = tmp_path / "data"
    monkeypatch.setenv("BNSWEEP_DATA", str(data))
    monkeypatch.setenv("COLUMNS", "300")
    side = ["--set", "shorter_side=32"]
    planned = bnsweep("plan", str(sweep), *side)
    assert "`bnsweep prepare` keeps them reduced" in planned.out
    said = bnsweep("prepare", str(sweep), *side, "--decoders", "1")
    assert said.code == 0
    copy = data / "prepared" / "zoo-shorter32"
    assert said.out.splitlines() == [
        f"{data}/zoo: 6 training and 6 test images",
        f"{data}/zoo: every image decodes",
        f"{copy}: 12 images, 0.00 GB",
    ]
    assert (copy / "pixels.bin").stat().st_size == 12 * 32 * 40 * 3
    planned = bnsweep("plan", str(sweep), *side)
    assert planned.out.splitlines()[-1] == f"{copy}: prepared images, their shorter side 32 pixels"


def test_a_damaged_image_is_the_user_s_mistake(bnsweep, sweep, tmp_path):
    broken = tmp_path / "data/zoo/train/ant/0.png"
    broken.write_text("no image")
    said = bnsweep("prepare", str(sweep), "--data", str(tmp_path / "data"))
    assert said.code == 2
    assert str(broken) in said.err


def test_a_sweep_without_a_folder_of_images_has_nothing_to_prepare(bnsweep):
    said = bnsweep("prepare", "sweeps/quickstart.yaml")
    assert (said.code, said.out) == (0, "quickstart: needs no folder of images\n")
