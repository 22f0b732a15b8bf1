from __future__ import annotations

import errno
import hashlib
import io
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trials import small

from trainer import checkpoint, files, freezing
from trainer.checkpoint import Header
from trainer.journal import Record
from trainer.results import CHECKPOINT, CHECKPOINT_PREVIOUS
from trainer.spec import TrialSpec
from trainer.weights import initial

METRICS = (
    "train/loss",
    "train/accuracy",
    "test/loss",
    "test/accuracy",
    "test/accuracy_top5",
    "lr",
    "images_per_second",
)


def header(spec: TrialSpec, epochs_done: int = 1, records: int = 1) -> Header:
    draw = random.Random(0)  # digits that do not compress, like real ones
    history = [
        Record(
            seq=n,
            time_ms=1_700_000_000_000 + draw.randrange(10**9),
            step=391 * n,
            epoch=n,
            attempt=1,
            metrics={name: draw.random() * 100 for name in METRICS},
        )
        for n in range(records)
    ]
    return Header(
        trial_id=spec.trial_id,
        epochs_done=epochs_done,
        step_in_epoch=0,
        step=4 * epochs_done,
        seconds=1.5,
        started_ms=1,
        exact=True,
        numerics={"threads": 1},
        digests={"data": "d", "initial": freezing.snapshot(initial.build(spec)).digest},
        history=history,
    )


def save(folder: Path, spec: TrialSpec, epochs_done: int = 1, **fields: Any) -> None:
    tensors = {
        "values": torch.full((5,), float(epochs_done)),
        "statistics": torch.arange(3.0),
        "optimizer": [torch.arange(5.0)],
        "losses": torch.zeros(0),
        "hits": torch.zeros(0),
    }
    checkpoint.save(folder, header(spec, epochs_done), **{**tensors, **fields})


def test_what_is_saved_is_found(tmp_path) -> None:
    save(tmp_path, small(), losses=torch.tensor([0.1, 0.2]))
    found = checkpoint.find([tmp_path], small())
    assert found.header == header(small())
    assert found.folder == tmp_path
    assert torch.equal(found.values, torch.ones(5))
    assert torch.equal(found.optimizer[0], torch.arange(5.0))
    assert torch.equal(found.losses, torch.tensor([0.1, 0.2]))


def test_nothing_is_found_where_there_is_none(tmp_path) -> None:
    assert checkpoint.find([tmp_path, tmp_path / "absent"], small()) is None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "absent"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage, tmp_path, caplog) -> None:
    save(tmp_path, small(), 1)
    save(tmp_path, small(), 2)
    path = tmp_path / CHECKPOINT
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "absent":  # killed between two renames
        path.unlink()
    else:
        path.write_bytes(
            {"truncated": bytes(content[:200]), "flipped": bytes(content), "empty": b""}[damage]
        )
    assert checkpoint.find([tmp_path], small()).epoch == 1
    assert damage == "absent" or str(path) in caplog.text


def test_an_attempt_without_a_valid_checkpoint_gives_way_to_the_attempt_before(tmp_path) -> None:
    older, newer = tmp_path / "1", tmp_path / "2"
    older.mkdir()
    newer.mkdir()
    save(older, small(), 3)
    (newer / CHECKPOINT).write_bytes(b"nonsense")
    assert checkpoint.find([newer, older], small()).folder == older


def test_another_trial_s_checkpoint_is_refused(tmp_path, caplog) -> None:
    save(tmp_path, small(seed=1))
    assert checkpoint.find([tmp_path], small()) is None
    assert small(seed=1).trial_id in caplog.text


def test_a_file_with_objects_other_than_tensors_is_not_unpickled(tmp_path) -> None:

    buffer = io.BytesIO()
    torch.save({"header": Path("x")}, buffer)  # any class could stand here
    payload = buffer.getvalue()
    digest = hashlib.sha256(payload).hexdigest().encode()
    (tmp_path / CHECKPOINT).write_bytes(digest + b"\n" + payload)
    assert checkpoint.find([tmp_path], small()) is None


def test_the_last_two_checkpoints_are_kept_and_nothing_else(tmp_path) -> None:
    for epoch in (1, 2, 3):
        save(tmp_path, small(), epoch)
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, CHECKPOINT_PREVIOUS}
    assert checkpoint.load(tmp_path / CHECKPOINT_PREVIOUS, small()).epoch == 2


def test_bn_only_resnet_110_after_160_epochs_takes_at_most_150_kilobytes(tmp_path) -> None:
    draw = torch.Generator().manual_seed(0)
    checkpoint.save(
        tmp_path,
        header(small(), 160, records=161),
        values=torch.randn(8288, generator=draw),
        statistics=torch.randn(8288, generator=draw),
        optimizer=[torch.randn(8288, generator=draw)],
        losses=torch.randn(391, generator=draw)[:0],
        hits=torch.zeros(0),
    )
    assert (tmp_path / CHECKPOINT).stat().st_size <= 150_000


def test_a_checkpoint_that_cannot_be_read_for_now_is_not_passed_over(tmp_path, monkeypatch) -> None:
    save(tmp_path, small(), 1)
    save(tmp_path, small(), 2)
    read = files.read

    def failing(number):
        def failing_read(path):
            if path.name == CHECKPOINT:
                raise OSError(number, os.strerror(number))
            return read(path)

        monkeypatch.setattr(files, "read", failing_read)

    failing(errno.ESTALE)
    with pytest.raises(OSError, match="Stale"):
        checkpoint.find([tmp_path], small())
    failing(errno.EIO)  # a bad block stays one
    assert checkpoint.find([tmp_path], small()).epoch == 1
