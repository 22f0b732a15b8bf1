"""The copy that `prepare` makes gives the pixels of the folder, is whole or absent, and goes on."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.__main__ import main
from trainer.data import archives, layouts, prepared_images, splits
from trainer.errors import DataError
from trainer.spec import TrialSpec

SPEC = TrialSpec(
    dataset="image_folder", data_id="zoo", classes=2, image_size=28, shorter_side=32, depth=8,
    epochs=1, batch_size=8,
)  # fmt: skip


def picture(draw: np.random.Generator, width: int, height: int) -> Image.Image:
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """150 training and 10 test images, larger and smaller than the shorter side."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 75), ("val", 5)):
        for name in ("ant", "bee"):
            folder = tmp_path / "zoo" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = picture(draw, 30 + number, 50 + number % 3)
                image.save(folder / f"{number}.{'png' if number % 2 else 'jpg'}")
    return tmp_path


def prepare(root: Path, monkeypatch, spec: TrialSpec = SPEC) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps([spec.identity_fields()])))
    return main(["prepare", "--data", str(root), "--decoders", "1"])


def batches(root: Path, spec: TrialSpec = SPEC) -> list[torch.Tensor]:
    data = splits.load(spec, root, workers=0, decoder="pil")
    return [part for batch in [*data.train.batches(1), *data.test.batches()] for part in batch]


def copy_of(root: Path) -> Path:
    return layouts.prepared_folder(root, "zoo", 32)


def test_the_copy_gives_the_pixels_and_labels_of_the_folder(root, monkeypatch, capsys) -> None:
    before = splits.load(SPEC, root, workers=0, decoder="pil")
    expected = batches(root)
    assert prepare(root, monkeypatch) == 0
    assert "160 images" in capsys.readouterr().out
    after = splits.load(SPEC, root, workers=1)
    assert isinstance(after.train.source.listing, prepared_images.StoredListing)
    assert (after.digest, after.decoder) == (before.digest, before.decoder)
    assert all(map(torch.equal, batches(root), expected))
    (root / "zoo").rename(root / "elsewhere")  # the copy is enough
    assert all(map(torch.equal, batches(root), expected))
    assert prepare(root, monkeypatch) == 0
    assert "is there already" in capsys.readouterr().out


def test_reduced_images_have_other_crops_but_the_same_test_images(root) -> None:
    whole = SPEC.changed(shorter_side=0)
    reduced, full = splits.load(SPEC, root, workers=0), splits.load(whole, root, workers=0)
    train = [next(iter(data.train.batches(1)))[0] for data in (reduced, full)]
    assert not torch.equal(*train)
    for (one, _), (other, _) in zip(reduced.test.batches(), full.test.batches(), strict=True):
        assert torch.equal(one, other)
    assert SPEC.trial_id != whole.trial_id
    assert reduced.of(whole) is None


def test_a_subset_is_that_of_the_folder(root, monkeypatch) -> None:
    few = SPEC.changed(train_subset=20)
    expected = batches(root, few)
    prepare(root, monkeypatch)
    assert all(map(torch.equal, batches(root, few), expected))
    with pytest.raises(DataError, match="150 training images, train_subset: 1000"):
        splits.load(SPEC.changed(train_subset=1000), root, workers=0)


def test_a_killed_preparation_leaves_no_copy_and_goes_on(root, monkeypatch) -> None:
    expected = batches(root)
    monkeypatch.setattr(prepared_images, "SAFE_EVERY", 1)
    program = (
        "import sys, os; from trainer import __main__ as m\n"
        "from trainer.data import prepared_images as p\n"
        "p.SAFE_EVERY = 1; safe = p._make_safe\n"
        "def once(*given): safe(*given); given[0].write(b'torn'); given[0].flush(); os._exit(9)\n"
        "p._make_safe = once; m.main(['prepare', '--data', sys.argv[1]])"
    )
    fields = json.dumps([SPEC.identity_fields()])
    killed = subprocess.run(
        [sys.executable, "-c", program, root], input=fields, text=True, check=False
    )
    assert killed.returncode == 9
    assert not copy_of(root).exists()
    part = copy_of(root).with_name(f".{copy_of(root).name}.part")
    assert len((part / "done.jsonl").read_text().splitlines()) == 1
    made, images = [], prepared_images._images
    monkeypatch.setattr(
        prepared_images, "_images", lambda chunk: made.append(chunk) or images(chunk)
    )
    assert prepare(root, monkeypatch) == 0
    assert len(made) == 2  # of three chunks
    assert not part.exists()
    assert all(map(torch.equal, batches(root), expected))


def test_what_was_begun_with_other_images_is_begun_anew(root, monkeypatch) -> None:
    part = copy_of(root).with_name(f".{copy_of(root).name}.part")
    part.mkdir(parents=True)
    (part / "about.json").write_text("{}")
    (part / "done.jsonl").write_text('{"end": 10, "sizes": [[1, 1]], "sha256": ""}\n')
    (part / "pixels.bin").write_bytes(b"0123456789")
    expected = batches(root)
    assert prepare(root, monkeypatch) == 0
    assert all(map(torch.equal, batches(root), expected))


def test_a_copy_that_was_cut_is_named(root, monkeypatch) -> None:
    prepare(root, monkeypatch)
    pixels = copy_of(root) / "pixels.bin"
    pixels.write_bytes(pixels.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"prepared images are damaged.*bnsweep prepare"):
        splits.load(SPEC, root, workers=0)


def test_too_little_room_is_said_before_the_disk_is_full(root, monkeypatch, capsys) -> None:
    monkeypatch.setattr(prepared_images, "SAFE_EVERY", 1)
    monkeypatch.setattr(
        prepared_images.shutil, "disk_usage", lambda _: type("U", (), {"free": 1000})()
    )
    assert prepare(root, monkeypatch) == 2
    assert "GB free; the same command goes on once there is room" in capsys.readouterr().err
    assert not copy_of(root).exists()


def test_a_shorter_side_below_the_crop_or_of_no_folder_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter_side: found 20; allowed: 0"):
        SPEC.changed(shorter_side=20)
    with pytest.raises(ValueError, match="only means something for folders of images"):
        TrialSpec(shorter_side=64)


# --- archives ------------------------------------------------------------------------------------


def archive(files: dict[str, bytes], mode: str = "w") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def jpeg(colour: int) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (40, 40), (colour, 0, 0)).save(made, "JPEG")
    return made.getvalue()


@pytest.fixture
def archived(tmp_path: Path) -> Path:
    """A data folder with ImageNet's archives, of two classes."""
    folder = tmp_path / "imagenet"
    folder.mkdir()
    classes = {
        f"{wnid}.tar": archive({f"{wnid}_{n}.JPEG": jpeg(n) for n in range(3)})
        for wnid in ("n01440764", "n01443537")
    }
    (folder / archives.TRAIN_ARCHIVE).write_bytes(archive(classes))
    images = {f"ILSVRC2012_val_0000000{n}.JPEG": jpeg(n) for n in (1, 2)}
    (folder / archives.VALIDATION_ARCHIVE).write_bytes(archive(images))
    devkit = {f"{layouts.DEVKIT}/data/readme.txt": b"x"}
    (folder / archives.DEVKIT_ARCHIVE).write_bytes(archive(devkit, "w:gz"))
    (folder / "val.txt").write_text("ILSVRC2012_val_00000001 1\nILSVRC2012_val_00000002 0\n")
    return tmp_path


def unpacked(root: Path) -> list[str]:
    archives.unpack(root / "imagenet", lambda _: None)
    found = layouts.find(root / "imagenet", 2)
    return [file for file, _ in [*found.train, *found.test]]


def test_archives_become_the_folders_that_are_read(archived) -> None:
    files = unpacked(archived)
    assert len(files) == 8
    assert (archived / "imagenet" / layouts.DEVKIT / "data" / "readme.txt").is_file()
    assert not list((archived / "imagenet").glob(".*.part"))
    assert unpacked(archived) == files


def test_unpacking_goes_on_after_the_classes_that_are_whole(archived) -> None:
    part = archived / "imagenet" / ".train.part"
    (part / "n01440764").mkdir(parents=True)
    (part / "n01440764" / "whole.JPEG").write_bytes(jpeg(9))
    (part / ".n01443537").mkdir()
    (part / ".n01443537" / "torn.JPEG").touch()
    assert [f for f in unpacked(archived) if "train" in f] == [
        "train/n01440764/whole.JPEG",
        *(f"train/n01443537/n01443537_{n}.JPEG" for n in range(3)),
    ]


def test_a_damaged_archive_is_named_and_leaves_no_folder(archived) -> None:
    path = archived / "imagenet" / archives.TRAIN_ARCHIVE
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DataError, match=r"img_train\.tar: is damaged"):
        archives.unpack(archived / "imagenet", lambda _: None)
    assert not (archived / "imagenet" / "train").exists()


def test_a_name_that_leads_out_of_the_folder_stays_in_it(archived) -> None:
    path = archived / "imagenet" / archives.VALIDATION_ARCHIVE
    path.write_bytes(archive({"../../evil.JPEG": jpeg(1)}))
    archives.unpack(archived / "imagenet", lambda _: None)
    assert (archived / "imagenet" / "val" / "evil.JPEG").is_file()
    assert not (archived / "evil.JPEG").exists()


def test_no_file_of_the_devkit_leaves_its_folder(tmp_path) -> None:
    beginning = f"{archives.DEVKIT}/"
    names = (f"{beginning}data/in.txt", f"{beginning}../../evil.txt", "/evil.txt", "evil.txt")
    (tmp_path / archives.DEVKIT_ARCHIVE).write_bytes(archive(dict.fromkeys(names, b"x")))
    archives.unpack(tmp_path, lambda _: None)
    folder = tmp_path / archives.DEVKIT
    assert [p for p in folder.rglob("*") if p.is_file()] == [folder / "data" / "in.txt"]
    assert not list(tmp_path.parent.glob("evil.txt"))


def test_preparing_side_by_side_makes_one_copy(root, monkeypatch) -> None:
    command = [sys.executable, "-m", "trainer", "prepare", "--data", root]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        process.stdin.write(json.dumps([SPEC.identity_fields()]))
        process.stdin.close()
    assert [process.wait() for process in both] == [0, 0]
    for process in both:
        process.stdout.close()
    assert copy_of(root).is_dir()
