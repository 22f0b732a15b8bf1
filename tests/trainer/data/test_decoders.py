"""Processes that decode: any number of them, and any that die, give the same bytes."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from deadly_task import Deadly
from PIL import Image

from trainer.data import decoder_process, decoding, shared_chunks, splits
from trainer.data.decoders import Decoders
from trainer.errors import DataError, SpecError
from trainer.spec import TrialSpec
from trainer.train import Options, train

SPEC = TrialSpec(
    dataset="image_folder", data_id="zoo", classes=2, image_size=16, depth=8, epochs=2,
    batch_size=24, lr=0.05,
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """120 training and 8 test images of two classes."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 60), ("val", 4)):
        for name in ("ant", "bee"):
            folder = tmp_path / "zoo" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (24, 28, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """Chunks of this test alone."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(shared_chunks, "MEMORY", folder)
    return folder


def all_pixels(data: splits.Data) -> list[torch.Tensor]:
    epochs = [images for epoch in (1, 2) for images, _ in data.train.batches(epoch)]
    return [*epochs, *(images for images, _ in data.test.batches())]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def test_any_number_of_decoders_gives_the_same_bytes(root) -> None:
    here = all_pixels(splits.load(SPEC, root, workers=0))
    for count in (1, 3):
        assert same(all_pixels(splits.load(SPEC, root, workers=count)), here)


def test_decoders_stay_for_all_epochs_and_end_with_their_data(root) -> None:
    data = splits.load(SPEC, root, workers=2)
    decoders = data.train.source.decoders
    before = decoders.pids
    assert len(before) == 2
    all_pixels(data)
    assert decoders.pids == before
    del data, decoders
    for pid in before:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_trial_leaves_no_decoder_and_nothing_in_memory(root, memory, tmp_path) -> None:
    train(SPEC, tmp_path / "t", options=Options(data=root, device="cpu", decoders=2))
    folder = shared_chunks.base(0)
    assert folder.parent == memory
    assert list(folder.iterdir()) == []


def test_a_decoder_that_is_killed_is_replaced_and_the_bits_stay(root, tmp_path) -> None:
    quiet = Options(data=root, device="cpu", decoders=0)
    expected = train(SPEC, tmp_path / "quiet", options=quiet)
    data, killed = splits.load(SPEC, root, workers=2), []
    pixels = []
    for epoch in (1, 2):
        for images, _ in data.train.batches(epoch):
            victim = data.train.source.decoders.pids[len(killed) % 2]
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
            pixels.append(images)
    assert len(set(killed)) > 5
    undisturbed = all_pixels(splits.load(SPEC, root, workers=0))
    assert same(pixels, undisturbed[: len(pixels)])

    def kill_some() -> bool:
        for child in children():
            os.kill(child, signal.SIGKILL)
        return False

    options = replace(quiet, decoders=2, poll=kill_some)
    disturbed = train(SPEC, tmp_path / "disturbed", options=options)
    assert disturbed.digests == expected.digests
    assert disturbed.history[-1].metrics["train/loss"] == expected.history[-1].metrics["train/loss"]


def children() -> list[int]:
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def test_decoders_end_when_the_process_that_started_them_is_killed(root) -> None:
    reading, writing = os.pipe()
    parent = os.fork()
    if not parent:
        decoders = splits.load(SPEC, root, workers=2).train.source.decoders
        os.write(writing, " ".join(map(str, decoders.pids)).encode())
        time.sleep(60)
        os._exit(0)
    pids = [int(pid) for pid in os.read(reading, 100).split()]
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() and not zombie(pid) for pid in pids):
        assert time.monotonic() < deadline, "a decoder outlives its trial"
        time.sleep(0.05)
    shared_chunks.base(0)  # the next trial here removes what that one left in memory
    assert list(shared_chunks.base(0).iterdir()) == []


def zombie(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"


def test_a_task_that_kills_every_decoder_is_given_up(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where `Deadly` is
    with pytest.raises(DataError, match=r"end at once \(exit code -9\)"):
        list(Decoders(1).outcomes([Deadly()], 1))


def test_an_image_that_vanishes_while_training_is_named(root) -> None:
    data = splits.load(SPEC, root, workers=2)
    (root / "zoo/train/ant/0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"zoo/train/ant/0\.png: cannot be decoded"):
        list(data.train.batches(1))


# --- one decoding for all trials of a seed -------------------------------------------------------


def decoded(data: splits.Data) -> int:
    return data.train.source.decoders.decoded


def test_four_trials_of_a_seed_decode_each_image_once(root) -> None:
    trials = [splits.load(SPEC.changed(depth=d), root, workers=1) for d in (8, 14, 20, 26)]
    before = sum(map(decoded, trials))
    alone = splits.load(SPEC, root, workers=0)
    epochs = [trial.train.batches(1) for trial in trials]
    for batches in zip(alone.train.batches(1), *epochs, strict=True):
        first, *others = [images for images, _ in batches]
        assert all(torch.equal(first, other) for other in others)
    assert sum(map(decoded, trials)) - before == 4  # chunks of an epoch


def test_other_seeds_flips_and_sizes_share_nothing(root) -> None:
    first = splits.load(SPEC, root, workers=1)
    list(first.train.batches(1))
    for fields in ({"seed": 1}, {"flip": False}, {"image_size": 20}):
        spec = SPEC.changed(**fields)
        data = splits.load(spec, root, workers=1)
        before = decoded(data)
        here = splits.load(spec, root, workers=0)
        for (images, _), (expected, _) in zip(
            data.train.batches(1), here.train.batches(1), strict=True
        ):
            assert torch.equal(images, expected)
        assert decoded(data) - before == 4


def test_trials_of_other_batch_sizes_and_resumed_ones_share_too(root) -> None:
    first = splits.load(SPEC, root, workers=1)
    list(first.train.batches(1))
    other = splits.load(SPEC.changed(batch_size=7), root, workers=1)
    before = decoded(other)
    resumed = [images for images, _ in other.train.batches(1, 10)]
    assert decoded(other) == before
    here = [i for i, _ in splits.load(SPEC.changed(batch_size=7), root, workers=0).train.batches(1)]
    assert same(resumed, here[10:])


def test_a_trial_far_behind_finds_its_chunks_forgotten_and_decodes_them(root, monkeypatch) -> None:
    stream = shared_chunks.Stream(memory_folder(shared_chunks.base(0)))
    monkeypatch.setattr(shared_chunks, "KEPT_BYTES", 0)
    for number in range(12):
        path = stream.folder / f"made-{number}"
        path.write_bytes(b"pixels")
        os.utime(path, (number, number))
        stream.publish(number, path)
        path.unlink()
    assert [stream.take(number, stream.folder / f"t{number}") for number in range(12)] == (
        [False] * 4 + [True] * 8
    )


def memory_folder(base: Path) -> Path:
    shared_chunks.use(base / "stream")
    return base / "stream"


def test_a_stopped_decoder_of_another_trial_holds_nobody_up_for_long(root, monkeypatch) -> None:
    slow, fast = (splits.load(SPEC, root, workers=1) for _ in range(2))
    source = fast.train.source
    stream = source.stream("augmented", 16, True, 0)
    folder = shared_chunks.base(0) / stream
    lock = shared_chunks.use(folder)
    holder = os.fork()  # the locks are those of a process: this one's would be no obstacle
    if not holder:
        with shared_chunks.Stream(folder).claim(4) as mine:
            (folder / "held").touch()
            time.sleep(60 if mine else 0)
        os._exit(0)
    while not (folder / "held").exists():
        time.sleep(0.01)
    try:
        here = [images for images, _ in splits.load(SPEC, root, workers=0).train.batches(1)]
        assert same([images for images, _ in fast.train.batches(1)], here)
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.close(lock)
    assert same([images for images, _ in slow.train.batches(1)], here)


def test_a_claim_ends_with_its_process(tmp_path) -> None:
    stream = shared_chunks.Stream(tmp_path)
    child = os.fork()
    if not child:
        with shared_chunks.Stream(tmp_path).claim(3):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with stream.claim(3) as mine:
        assert mine


# --- which decoder -------------------------------------------------------------------------------


def test_what_decoded_is_recorded(root, tmp_path) -> None:
    options = Options(data=root, device="cpu", decoders=0, decoder="pil")
    result = train(SPEC, tmp_path / "t", options=options)
    assert result.numerics["decoder"] == decoding.described("pil")
    assert result.numerics["decoder"].startswith("pil ")


def test_torchcodec_decodes_jpegs_as_pil_does_and_leaves_it_the_rest(tmp_path) -> None:
    pytest.importorskip("torchcodec", reason="the extra torchcodec is not installed")
    draw = np.random.default_rng(0)
    small = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = small.resize((120, 90), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "colour.jpg", quality=90)
    smooth.convert("L").save(tmp_path / "grey.jpg")
    smooth.convert("CMYK").save(tmp_path / "cmyk.jpg")
    smooth.save(tmp_path / "png.jpg", "PNG")
    for path in tmp_path.glob("*.jpg"):
        ours = np.asarray(decoding.open_image(path, "torchcodec").crop((0, 0, 120, 90)))
        pil = np.asarray(decoding.open_image(path, "pil"))
        assert np.abs(ours.astype(int) - pil).max() <= 3, path
    assert decoding.choose("torchcodec") == "torchcodec"
    assert decoding.choose("auto") == "pil"


def test_torchcodec_that_is_not_there_is_refused_by_name(monkeypatch):
    def missing():
        raise ImportError("No module named 'torchcodec'")

    monkeypatch.setattr(decoding, "_torchcodec", missing)
    assert decoding.choose("auto") == "pil"
    with pytest.raises(SpecError, match=r"torchcodec cannot be loaded.*bnsweep\[torchcodec\]"):
        decoding.choose("torchcodec")


def test_what_a_decoder_cannot_read_it_says(root) -> None:
    job = decoder_process.Job(1, decoding.Check((str(root / "nowhere.jpg"),)), str(root / "x"))
    ((sha256, problem),) = job.task.run()[1]
    assert sha256 == ""
    assert "No such file" in problem
