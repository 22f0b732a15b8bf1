"""What every launcher does alike: one suite for the inline launcher and Ray's, and for an installed
package's that BNSWEEP_CONTRACT_LAUNCHER names."""

import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest
from made_code import written
from PIL import Image
from processes import alive, descendants

from orchestrator import extensions
from orchestrator.launching.driver import InlineLauncher, request_stop
from orchestrator.launching.worker import PackTask
from orchestrator.store import liveness
from orchestrator.store.store import Store
from orchestrator.sweep.resources import Resources
from trainer import own_code, results
from trainer.networks.descriptions import NETWORKS
from trainer.spec import TrialSpec

ROOT = Path(__file__).parents[2]
TINY = TrialSpec(
    depth=8, dataset="synthetic", image_size=8, train_subset=64, batch_size=32, epochs=2, lr=0.01
)
LONG = TINY.changed(epochs=400, train_subset=512)
PACK = [TINY.changed(trainable="output_only", lr=rate) for rate in (0.01, 0.02)]
"""Two trials that one worker trains together."""
DIVERGES = TINY.changed(lr=1e30)


@pytest.fixture(scope="module")
def other_processes():
    """What ran below this process before any launcher did."""
    return set(descendants(os.getpid()))


def a_folder_with_names_like_ours(tmp_path_factory):
    """Where a user may stand: workers must not take these files for our packages."""
    folder = tmp_path_factory.mktemp("users own")
    for name in ("trainer.py", "orchestrator.py"):
        (folder / name).write_text(f"raise RuntimeError('the user\\'s own {name} was imported')\n")
    return folder


OWN = os.environ.get("BNSWEEP_CONTRACT_LAUNCHER")


@pytest.fixture(scope="module", params=[OWN] if OWN else ["inline", "ray"])
def launcher(request, tmp_path_factory, other_processes):
    """One launcher for all tests of its kind: starting Ray takes seconds."""
    if request.param != "ray":
        launcher = extensions.find("launcher", request.param)(Resources(cpus=1, gpus=0.0))
        yield launcher
        launcher.close()
        return
    before, here = dict(os.environ), Path.cwd()
    os.chdir(a_folder_with_names_like_ours(tmp_path_factory))
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        if not name.startswith("RAY_AUTH_"):  # Ray keeps to those with which it was imported
            del os.environ[name]
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ["PYTHONPATH"] = str(ROOT)
    # Ray's sockets have paths of at most 107 bytes, which pytest's folders exceed.
    folder = tempfile.mkdtemp(prefix="bnsweep-")
    os.environ["BNSWEEP_RAY_TEMP"] = folder
    from orchestrator.launching.ray_launcher import RayLauncher

    launcher = RayLauncher(Resources(cpus=1, gpus=0.0))
    yield launcher
    launcher.close()
    shutil.rmtree(folder, ignore_errors=True)
    os.environ.clear()
    os.environ.update(before)
    os.chdir(here)


def a_store(folder):
    store = Store(folder / "runs")
    store.open_for_writing()
    store.sweep_folder("tiny").mkdir()
    return store


@pytest.fixture
def store(tmp_path):
    return a_store(tmp_path)


def tasks(store, *packs, launch=1):
    """Tasks of one launch, each a pack of trials."""
    common = {"data": store.root / "data", "sweep": "tiny", "launch": launch, "device": "cpu"}
    return [PackTask(store=store.root, trials=pack, **common) for pack in packs]


def once_it_has_a_checkpoint(store, spec, number, act):
    """Act from a thread when the trial's attempt has completed an epoch."""

    def wait_and_act():
        folder = store.attempt_folder(spec.trial_id, number)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (folder / results.CHECKPOINT).exists():
            time.sleep(0.02)
        act(folder)

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def ran(launcher, tmp_path_factory):
    """A store after a pack, a trial that diverges and one that follows it were run."""
    store = a_store(tmp_path_factory.mktemp("ran"))
    launcher.run(tasks(store, PACK, [DIVERGES], [TINY]))
    return store


def test_each_task_is_run_once_and_each_trial_of_a_pack_has_its_result(ran):
    for spec in (*PACK, TINY):
        assert ran.state(spec).state == "finished"
        assert ran.attempts(spec.trial_id) == [1]
    packed = [ran.result(spec.trial_id).numerics["packed"] for spec in (*PACK, TINY)]
    assert packed == [2, 2, 1]


def test_an_error_of_the_trainer_is_a_failed_trial_and_the_others_go_on(ran):
    assert ran.failure(DIVERGES.trial_id).failure == "diverged"
    assert ran.attempts(DIVERGES.trial_id) == [1]
    assert ran.state(TINY).state == "finished"


def test_it_runs_a_second_round_and_a_finished_trial_is_not_trained_again(launcher, ran):
    launcher.run(tasks(ran, PACK, [TINY]))
    assert [ran.attempts(spec.trial_id) for spec in (*PACK, TINY)] == [[1]] * 3


def test_a_request_to_stop_ends_a_trial_after_its_step_and_it_can_be_resumed(launcher, store):
    for number, runner in ((1, launcher), (2, InlineLauncher())):  # resumed here: no second torch

        def stop(_, number=number):
            request_stop(store, "tiny", number, "now")

        thread = once_it_has_a_checkpoint(store, LONG, number, stop)
        runner.run(tasks(store, [LONG], launch=number))
        thread.join()
        assert store.failure(LONG.trial_id).failure == "stopped"
        assert store.attempts(LONG.trial_id)[-1] == number
    start = liveness.read_start(store.attempt_folder(LONG.trial_id, 2))
    assert start.resumed_from.attempt == 1
    epochs = [record.epoch for record in store.journal(LONG.trial_id)]
    assert epochs == list(range(len(epochs)))


def test_after_a_request_to_stop_nothing_new_begins(launcher, store):
    request_stop(store, "tiny", 1, "graceful")
    launcher.run(tasks(store, [TINY]))
    assert store.state(TINY).state == "pending"


def test_a_trial_whose_worker_was_killed_is_taken_up_again_and_finishes(launcher, store):
    if isinstance(launcher, InlineLauncher):
        pytest.skip("its worker is the driver itself, and tests/faults kills drivers")
    victim = TINY.changed(epochs=20, train_subset=512)

    def kill(folder):
        os.kill(liveness.read_start(folder).pid, signal.SIGKILL)

    thread = once_it_has_a_checkpoint(store, victim, 1, kill)
    launcher.run(tasks(store, [victim]))
    thread.join()
    assert store.state(victim).state == "finished"
    assert store.attempts(victim.trial_id) == [1, 2]
    start = liveness.read_start(store.attempt_folder(victim.trial_id, 2))
    assert start.resumed_from.attempt == 1


def test_closing_leaves_no_process_behind_however_often(launcher, store, other_processes):
    request_stop(store, "tiny", 1, "graceful")  # a round in which no trial begins
    launcher.run(tasks(store, [TINY]))
    started = set(descendants(os.getpid())) - other_processes
    assert bool(started) != isinstance(launcher, InlineLauncher)
    for _ in range(2):
        launcher.close()
    deadline = time.monotonic() + 30
    while left := [pid for pid in started if alive(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_own_code_is_trained_from_the_stores_copy_and_forgotten_after(launcher, store, tmp_path):
    path = written(tmp_path)
    sha256 = own_code.digest(tmp_path / "mine.py")
    store.keep_code(sha256, tmp_path / "mine.py")
    path.with_name("mine.py").unlink()
    own = TINY.changed(
        code_sha256=sha256, model="tiny", depth=1, trainable="stem_only", options={"filters": 4}
    )
    stranger = TINY.changed(code_sha256="0" * 64, trainable="stem_only")
    last = own.changed(seed=1)
    launcher.run(tasks(store, [own], [TINY], [stranger], [last]))
    assert store.result(own.trial_id).counts.trainable == 4 * 3 * 9
    assert "0000" in store.failure(stranger.trial_id).cause
    assert [store.state(spec).state for spec in (TINY, last)] == ["finished", "finished"]
    assert "tiny" not in NETWORKS  # of this process, which is the inline launcher's worker


def test_a_folder_of_images_is_decoded_by_processes_of_the_trial(launcher, store):
    for number, name in enumerate(("ant", "bee")):
        for split in ("train", "val"):
            folder = store.root / "data" / "zoo" / split / name
            folder.mkdir(parents=True)
            for image in range(4):
                Image.new("RGB", (20, 20), (200 * number, image, 0)).save(folder / f"{image}.png")
    zoo = TrialSpec(
        dataset="image_folder", data_id="zoo", classes=2, image_size=16, depth=8, epochs=1,
        batch_size=4,
    )  # fmt: skip
    launcher.run(tasks(store, [zoo]))
    assert store.result(zoo.trial_id).numerics["decoder"].startswith(("pil ", "torchcodec "))
