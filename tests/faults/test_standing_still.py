"""Processes that stand still without dying, by real signals: every launch ends all the same."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest
from processes import alive, descendants

from orchestrator import settings
from orchestrator.launching import driver, monitor
from orchestrator.launching.worker import PackTask
from orchestrator.store import liveness
from orchestrator.store.folder import HEARTBEAT
from orchestrator.store.store import Store
from orchestrator.sweep.resources import Resources
from orchestrator.sweep.sweep_spec import SweepSpec
from trainer.spec import TrialSpec

ROOT = Path(__file__).parents[2]
TINY = TrialSpec(
    depth=8, dataset="synthetic", image_size=8, train_subset=64, batch_size=32, epochs=2, lr=0.01
)
LONG = TINY.changed(epochs=60, train_subset=512)
ENDLESS = TINY.changed(epochs=20_000, train_subset=512)


@pytest.fixture(scope="module")
def other_processes():
    return set(descendants(os.getpid()))


@pytest.fixture(scope="module")
def launcher(tmp_path_factory, other_processes):
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        if not name.startswith("RAY_AUTH_"):  # Ray keeps to those with which it was imported
            del os.environ[name]
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ["PYTHONPATH"] = str(ROOT)
    folder = tempfile.mkdtemp(prefix="bnsweep-")
    os.environ["BNSWEEP_RAY_TEMP"] = folder
    from orchestrator.launching.ray_launcher import RayLauncher

    launcher = RayLauncher(Resources(cpus=1, gpus=0.0))
    yield launcher
    launcher.close()
    shutil.rmtree(folder, ignore_errors=True)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def watch(launcher, monkeypatch):
    """The module with its limits, which a test makes short."""
    from orchestrator.launching import ray_watch

    monkeypatch.setattr(ray_watch, "LOOK_S", 0.5)
    return ray_watch


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.open_for_writing()
    store.sweep_folder("tiny").mkdir()
    return store


def tasks(store, *specs):
    common = {"data": store.root / "data", "sweep": "tiny", "launch": 1, "device": "cpu"}
    return [PackTask(store=store.root, trials=(spec,), **common) for spec in specs]


def once_it_trains(store, spec, act):
    """Act from a thread on the process of the trial's first attempt, once it has a record."""

    def wait_and_act():
        folder = store.attempt_folder(spec.trial_id, 1)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not store.journal(spec.trial_id):
            time.sleep(0.02)
        act(liveness.read_start(folder).pid, folder)

    thread = threading.Thread(target=wait_and_act, daemon=True)
    thread.start()
    return thread


def freeze(pid, folder):
    """As a disk that never answers does; its heartbeat is as old as after three minutes."""
    os.kill(pid, signal.SIGSTOP)
    long_ago = time.time() - 2 * liveness.STALE_S
    os.utime(folder / HEARTBEAT, (long_ago, long_ago))


def test_a_frozen_worker_is_killed_and_its_trial_goes_on_from_its_checkpoint(
    launcher, store, watch
):
    seen = []
    thread = once_it_trains(
        store, LONG, lambda pid, folder: (seen.append(pid), freeze(pid, folder))
    )
    launcher.run(tasks(store, LONG, TINY))
    thread.join()
    assert [store.state(spec).state for spec in (LONG, TINY)] == ["finished", "finished"]
    assert store.attempts(LONG.trial_id) == [1, 2]
    assert not alive(seen[0])


def test_a_worker_that_has_no_memory_fails_its_trial_as_oom_and_holds_up_no_other(
    launcher, store, watch, monkeypatch
):
    monkeypatch.setattr(watch, "IDLE_S", 8.0)

    def limit(pid, _folder):
        resource.prlimit(pid, resource.RLIMIT_AS, (100_000_000, 100_000_000))

    thread = once_it_trains(store, LONG, limit)
    others = [TINY.changed(seed=seed) for seed in range(6)]
    launcher.run(tasks(store, LONG, *others))
    thread.join()
    assert [store.state(spec).state for spec in others] == ["finished"] * len(others)
    failures = [store.failure_of(LONG.trial_id, n) for n in store.attempts(LONG.trial_id)]
    # Where it could not even write why it ended, it was killed for its silence: no record.
    assert failures
    assert {f.failure for f in failures if f} <= {"oom", "lost"}, failures
    assert store.state(LONG).state != "running"


def test_a_stop_ends_a_launch_whose_worker_is_frozen(
    launcher, tmp_path, watch, monkeypatch, other_processes
):
    monkeypatch.setattr(monitor, "GRACE_S", 2.0)
    here = settings.load(store=tmp_path / "runs", data=tmp_path / "data")
    store = Store(here.store)

    def stop(pid, _folder):
        os.kill(pid, signal.SIGSTOP)
        driver.request_stop(store, "tiny", 1, "now")

    thread = once_it_trains(store, ENDLESS, stop)
    outcome = driver.launch(SweepSpec(name="tiny", trials=[ENDLESS]), here, lambda: launcher)
    thread.join()
    assert outcome.exit_code == 4
    left = [pid for pid in set(descendants(os.getpid())) - other_processes if alive(pid)]
    assert left == []
    assert store.state(ENDLESS).state == "stopped"


@pytest.mark.parametrize("daemons", [("raylet",), ("raylet", "gcs_server")])
def test_a_ray_that_is_frozen_for_good_is_started_anew(
    launcher, tmp_path, watch, monkeypatch, other_processes, daemons
):
    monkeypatch.setattr(watch, "SILENT_S", 30.0)
    here = settings.load(store=tmp_path / "runs", data=tmp_path / "data")
    store = Store(here.store)
    frozen = []

    def freeze_ray(pid, _folder):
        of_this_launch = set(descendants(os.getpid())) - other_processes
        frozen.extend(pid for pid in of_this_launch if command(pid) in daemons)
        for daemon in frozen:
            os.kill(daemon, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)

    thread = once_it_trains(store, LONG, freeze_ray)
    specs = [LONG, TINY]
    outcome = driver.launch(SweepSpec(name="tiny", trials=specs), here, lambda: launcher)
    thread.join()
    assert len(frozen) == len(daemons)
    assert outcome.exit_code == 0
    assert store.attempts(LONG.trial_id) == [1, 2]
    assert not any(map(alive, frozen))


def command(pid):
    return Path(os.readlink(f"/proc/{pid}/exe")).name if Path(f"/proc/{pid}/exe").exists() else ""
