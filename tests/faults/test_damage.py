"""Damaged files, a full disk, a store that may only be read: a clear message, nothing lost."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from harness import Harness, sweep_text

from orchestrator import settings
from orchestrator.errors import UnreachableError
from orchestrator.launching import driver, rounds
from orchestrator.launching.driver import InlineLauncher
from orchestrator.store.folder import START
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec
from orchestrator.sweep.sweep_spec import SweepSpec
from trainer import results

SPEC = sweep_spec.parse(sweep_text(seeds=1), "tiny.yaml").trials[1]
assert SPEC.trainable == "bn_only"


@pytest.fixture
def here(tmp_path):
    return settings.load(store=tmp_path / "runs", data=tmp_path / "data")


def launch(here, **order):
    return driver.launch(
        SweepSpec(name="tiny", trials=[SPEC], retries=1),
        here,
        InlineLauncher,
        order=rounds.Order(**order),
    )


def stopped_after_the_second_epoch(here, monkeypatch):
    """A trial that was stopped: two checkpoints and three journal lines."""
    from dataclasses import replace

    from trainer.errors import Stopped
    from trainer.packs import pack_training

    trained = pack_training.train

    def until_epoch_two(spec, folder, *, options, **more):
        def record(r):
            if r.epoch == 2:
                raise Stopped("for the test")

        return trained(spec, folder, options=replace(options, on_record=record), **more)

    with monkeypatch.context() as patched:
        patched.setattr(pack_training, "train", until_epoch_two)
        assert launch(here).exit_code == 4
    return Store(here.store).attempt_folder(SPEC.trial_id, 1)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, empty, flip, Path.unlink])
@pytest.mark.parametrize(
    "names",
    [
        [results.CHECKPOINT],
        [results.CHECKPOINT, results.CHECKPOINT_PREVIOUS],
        [results.JOURNAL],
        [START],
    ],
    ids=["newest checkpoint", "both checkpoints", "journal", "start"],
)
def test_a_damaged_file_costs_epochs_at_most_and_never_the_result(
    here, monkeypatch, undisturbed, names, damage
):
    folder = stopped_after_the_second_epoch(here, monkeypatch)
    for name in names:
        damage(folder / name)
    assert launch(here).exit_code == 0
    store = Store(here.store)
    assert store.result(SPEC.trial_id).digests["final"] == undisturbed[SPEC.trial_id]
    assert [r.epoch for r in store.journal(SPEC.trial_id)] == [0, 1, 2, 3]


def test_an_empty_result_is_set_aside_and_the_trial_trained_again(here, undisturbed):
    launch(here)
    store = Store(here.store)
    for path in store.trial_folder(SPEC.trial_id).rglob(results.RESULT):
        path.write_bytes(b"")
    assert "damaged" in store.state(SPEC).cause
    assert launch(here).exit_code == 0
    assert store.result(SPEC.trial_id).digests["final"] == undisturbed[SPEC.trial_id]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB (root only: a tmpfs)."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_fails_clearly_and_the_trial_goes_on_once_there_is_room(
    small_disk, tmp_path, monkeypatch, undisturbed
):
    monkeypatch.setattr(rounds.failures, "IO_PAUSE_S", 0.0)
    here = settings.load(store=small_disk / "runs", data=tmp_path / "data")
    folder = stopped_after_the_second_epoch(here, monkeypatch)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 4096, 512):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    before = (folder / results.CHECKPOINT).read_bytes()
    with pytest.raises(UnreachableError, match="No space left"):
        launch(here)
    assert (folder / results.CHECKPOINT).read_bytes() == before
    assert Store(here.store).state(SPEC).state == "stopped"
    filler.unlink()
    assert launch(here).exit_code == 0
    store = Store(here.store)
    assert store.result(SPEC.trial_id).digests["final"] == undisturbed[SPEC.trial_id]


def test_a_disk_that_fills_during_a_trial_fails_it_as_io_with_nothing_half_written(
    small_disk, tmp_path, monkeypatch
):
    from dataclasses import replace

    from trainer.packs import pack_training

    monkeypatch.setattr(rounds.failures, "IO_PAUSE_S", 0.0)
    here = settings.load(store=small_disk / "runs", data=tmp_path / "data")
    trained, filler = pack_training.train, small_disk / "filler"

    def fill(record):
        if record.epoch == 1:
            # All but a little: the error's own record still fits.
            free = os.statvfs(small_disk)
            filler.write_bytes(b"x" * max(0, free.f_bavail * free.f_frsize - 12_288))

    def filling(spec, folder, *, options, **more):
        return trained(spec, folder, options=replace(options, on_record=fill), **more)

    with monkeypatch.context() as patched:
        patched.setattr(pack_training, "train", filling)
        with pytest.raises(UnreachableError, match=r"No space left.*bnsweep resume"):
            launch(here)
    store = Store(here.store)
    failure = store.failure(SPEC.trial_id)
    assert failure.failure == "io"
    assert "No space left" in failure.cause
    assert not list(store.trial_folder(SPEC.trial_id).rglob(results.RESULT))
    filler.unlink()
    assert launch(here).exit_code == 0


class FillsTheDisk(InlineLauncher):
    """After the first trial of a round, somebody else takes the room that the next would need."""

    def __init__(self, filler: Path) -> None:
        self.filler = filler

    def run(self, tasks):
        super().run(tasks[:1])
        free = os.statvfs(self.filler.parent)
        self.filler.write_bytes(b"x" * (free.f_bavail * free.f_frsize - 300_000))
        super().run(tasks[1:])


def test_on_a_disk_that_fills_up_the_trials_not_yet_begun_wait_instead_of_failing(
    small_disk, tmp_path
):
    here = settings.load(store=small_disk / "runs", data=tmp_path / "data")
    specs = [SPEC.changed(lr=rate) for rate in (0.01, 0.02, 0.03)]
    planned, filler = SweepSpec(name="tiny", trials=specs), small_disk / "filler"
    with pytest.raises(UnreachableError, match=r"0\.3 MB are free, .* 0\.4 MB; .*resume tiny"):
        driver.launch(planned, here, lambda: FillsTheDisk(filler))
    store = Store(here.store)
    assert [store.state(spec).state for spec in specs] == ["finished", "pending", "pending"]
    filler.unlink()
    assert driver.launch(planned, here, InlineLauncher).exit_code == 0
    assert [store.attempts(spec.trial_id) for spec in specs] == [[1], [1], [1]]


def test_a_store_that_may_only_be_read_refuses_a_launch_and_still_answers(tmp_path, small_disk):
    harness = Harness(tmp_path / "scenario", sweep_text(seeds=1))
    harness.store = Store(small_disk / "runs")
    assert harness.run("plan", str(harness.sweep)).returncode == 0
    here = settings.load(store=small_disk / "runs", data=tmp_path / "data")
    assert launch(here).exit_code == 0
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = harness.run("launch", str(harness.sweep), "-y")
    assert done.returncode == 3
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    status = harness.run("status", "tiny")
    assert status.returncode == 0
    assert "finished" in status.stdout


def test_a_store_of_a_newer_version_is_named_and_left_alone(tmp_path):
    harness = Harness(tmp_path / "scenario", sweep_text(seeds=1))
    harness.store.root.mkdir(parents=True)
    (harness.store.root / "store.json").write_text('{"version": 99}')
    done = harness.run("launch", str(harness.sweep), "-y")
    assert done.returncode == 2
    assert "newer bnsweep" in done.stderr
    assert not harness.store.trials_folder.exists() or not list(harness.store.trial_ids())
