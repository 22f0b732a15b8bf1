"""What every launcher does alike: one suite for the inline launcher and Ray's."""

import os
import signal
import threading
import time

import pytest
from processes import alive, descendants

from orchestrator.launching.driver import InlineLauncher, request_stop
from orchestrator.launching.worker import PackTask
from orchestrator.store import liveness
from orchestrator.store.store import Store
from orchestrator.sweep.resources import Resources
from trainer import results
from trainer.spec import TrialSpec

TINY = TrialSpec(
    depth=8, dataset="synthetic", image_size=8, train_subset=64, batch_size=32, epochs=2, lr=0.01
)
LONG = TINY.changed(epochs=400, train_subset=512)
HEADS = [TINY.changed(trainable="output_only", lr=rate) for rate in (0.01, 0.02)]
"""Two trials that one worker trains together."""


@pytest.fixture(scope="module")
def ray(tmp_path_factory):
    """One Ray for the whole suite, with an environment of its own."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        del os.environ[name]
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ["PYTHONPATH"] = os.getcwd()
    # Ray's sockets have paths of at most 107 bytes, which pytest's folders exceed.
    os.environ["BNSWEEP_RAY_TEMP"] = f"/tmp/bnsweep-contracts-{os.getpid()}"
    from orchestrator.launching.ray_launcher import RayLauncher

    launcher = RayLauncher(Resources(cpus=1, gpus=0))
    yield launcher
    launcher.close()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(params=["inline", "ray"])
def launcher(request):
    if request.param == "ray":
        return request.getfixturevalue("ray")
    return InlineLauncher()


only_with_workers = pytest.mark.parametrize(
    "launcher",
    [
        pytest.param(
            "inline",
            marks=pytest.mark.skip(
                reason="its worker is the driver itself: tests/faults kills drivers"
            ),
        ),
        "ray",
    ],
    indirect=True,
)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.open_for_writing()
    store.sweep_folder("tiny").mkdir()
    return store


@pytest.fixture
def tasks(store):
    """Tasks of one launch, a pack of trials each."""

    def tasks(*packs, launch=1):
        common = {"data": store.root / "data", "sweep": "tiny", "launch": launch, "device": "cpu"}
        return [PackTask(store=store.root, trials=pack, **common) for pack in packs]

    return tasks


def attempts(store, specs):
    return [store.attempts(spec.trial_id) for spec in specs]


def states(store, specs):
    return [store.state(spec).state for spec in specs]


def once_past_its_first_epoch(store, spec, act):
    """Act from a thread when the trial's newest attempt has completed an epoch of its own."""
    attempt = len(store.attempts(spec.trial_id)) + 1

    def wait_and_act():
        folder = store.attempt_folder(spec.trial_id, attempt)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (folder / results.CHECKPOINT).exists():
            time.sleep(0.02)
        act(folder)

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def test_each_task_is_run_once_and_each_trial_of_a_pack_has_its_result(launcher, store, tasks):
    alone = [TINY.changed(seed=seed) for seed in range(3)]
    launcher.run(tasks(HEADS, *([spec] for spec in alone)))
    assert states(store, [*HEADS, *alone]) == ["finished"] * 5
    assert attempts(store, [*HEADS, *alone]) == [[1]] * 5
    assert [store.result(spec.trial_id).numerics["packed"] for spec in HEADS] == [2, 2]


def test_it_runs_again_as_often_as_asked_and_a_finished_trial_is_not_trained_again(
    launcher, store, tasks
):
    for _ in range(2):
        launcher.run(tasks([TINY]))
    assert attempts(store, [TINY]) == [[1]]


def test_an_error_of_the_trainer_is_a_failed_trial_and_the_others_go_on(launcher, store, tasks):
    diverging, fine = TINY.changed(lr=1e30), TINY.changed(seed=1)
    launcher.run(tasks([diverging], [fine]))
    assert states(store, [diverging, fine]) == ["failed", "finished"]
    assert store.failure(diverging.trial_id).failure == "diverged"
    assert attempts(store, [diverging]) == [[1]]


def test_a_request_to_stop_ends_a_trial_after_its_step_and_it_can_be_resumed(
    launcher, store, tasks
):
    for launch in (1, 2):
        thread = once_past_its_first_epoch(
            store,
            LONG,
            lambda _: request_stop(store, "tiny", launch, "now"),  # noqa: B023
        )
        launcher.run(tasks([LONG], launch=launch))
        thread.join()
        assert states(store, [LONG]) == ["stopped"]
        assert (store.attempt_folder(LONG.trial_id, launch) / results.CHECKPOINT).exists()
    start = liveness.read_start(store.attempt_folder(LONG.trial_id, 2))
    assert start.resumed_from.attempt == 1
    assert [record.epoch for record in store.journal(LONG.trial_id)][:2] == [0, 1]


def test_after_a_request_to_stop_nothing_new_begins(launcher, store, tasks):
    request_stop(store, "tiny", 1, "graceful")
    launcher.run(tasks([TINY]))
    assert states(store, [TINY]) == ["pending"]


@only_with_workers
def test_a_trial_whose_worker_was_killed_is_taken_up_again_and_finishes(launcher, store, tasks):
    victim, other = TINY.changed(epochs=20, train_subset=512), TINY.changed(seed=1)

    def kill(folder):
        os.kill(liveness.read_start(folder).pid, signal.SIGKILL)

    thread = once_past_its_first_epoch(store, victim, kill)
    launcher.run(tasks([victim], [other]))
    thread.join()
    assert states(store, [victim, other]) == ["finished", "finished"]
    assert attempts(store, [victim, other]) == [[1, 2], [1]]
    start = liveness.read_start(store.attempt_folder(victim.trial_id, 2))
    assert start.resumed_from.attempt == 1


def test_closing_leaves_no_process_behind_however_often(launcher, store, tasks):
    launcher.close()
    others = set(descendants(os.getpid()))
    launcher.run(tasks([TINY]))
    started = set(descendants(os.getpid())) - others
    for _ in range(2):
        launcher.close()
    deadline = time.monotonic() + 30
    while left := [pid for pid in started if alive(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_closing_a_launcher_that_ran_nothing_is_no_mistake(launcher):
    launcher.close()
