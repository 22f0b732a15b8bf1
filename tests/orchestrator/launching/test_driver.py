"""Launches in this process, with real trials of the smallest network on synthetic images."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from orchestrator import settings
from orchestrator.launching import monitor, worker
from orchestrator.launching.driver import InlineLauncher, launch, request_stop
from orchestrator.launching.rounds import Order
from orchestrator.store import liveness, ownership
from orchestrator.store.failures import Failure
from orchestrator.store.folder import LOG
from orchestrator.store.ownership import Lease
from orchestrator.store.store import Store
from orchestrator.sweep.resources import Resources
from orchestrator.sweep.sweep_spec import SweepSpec
from orchestrator.tracking.memory_tracker import MemoryTracker
from trainer import errors, results
from trainer.kernels import build
from trainer.spec import TrialSpec

TINY = TrialSpec(
    depth=8, dataset="synthetic", image_size=8, train_subset=64, batch_size=32, epochs=2, lr=0.01
)
SPECS = [TINY.changed(seed=seed, trainable=mode) for seed in (0, 1) for mode in ("all", "bn_only")]


class Watcher:
    """An observer that remembers, and can act when a trial reaches an epoch."""

    def __init__(self, act=None):
        self.notes, self.seen, self.act = [], [], act

    def started(self, launch, _statuses):
        self.launch = launch

    def update(self, statuses):
        self.seen.append([s.state for s in statuses])

    def note(self, text):
        self.notes.append(text)


class Counting(InlineLauncher):
    """The inline launcher, counting; `before` is called with each task."""

    def __init__(self, before=None):
        self.ran, self.before = [], before

    def run(self, tasks):
        for task in tasks:
            if self.before:
                self.before(task)
            self.ran.append([spec.trial_id for spec in task.trials])
            super().run([task])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return settings.load(store=tmp_path / "runs", data=tmp_path / "data")


def run(here, specs=SPECS, launcher=None, **more):
    return launch(
        SweepSpec(name="tiny", trials=specs), here, lambda: launcher or Counting(), **more
    )


def attempts(here, spec):
    return Store(here.store).attempts(spec.trial_id)


def test_a_launch_finishes_all_trials_and_a_second_one_trains_nothing(here):
    first = run(here)
    assert (first.exit_code, first.counts["finished"]) == (0, 4)
    again = Counting()
    second = run(here, launcher=again)
    assert (second.launch, second.exit_code, again.ran) == (2, 0, [])


def test_adding_a_seed_runs_only_the_new_trials(here):
    run(here)
    new = TINY.changed(seed=2)
    launcher = Counting()
    assert run(here, [*SPECS, new], launcher).exit_code == 0
    assert launcher.ran == [[new.trial_id]]


def test_the_longest_trials_begin_first_by_what_the_store_has_seen(here):
    short, long = TINY.changed(trainable="bn_only"), TINY
    launcher = Counting()
    run(here, [short, long], launcher)  # nothing was seen yet: by operations
    assert launcher.ran == [[long.trial_id], [short.trial_id]]
    store = Store(here.store)
    slow = store.result(short.trial_id).model_copy(update={"seconds": 1000.0})
    results.write(store.trial_folder(short.trial_id) / results.RESULT, slow)
    again = Counting()
    run(here, [long.changed(seed=1), short.changed(seed=1)], again)
    assert again.ran == [[short.changed(seed=1).trial_id], [long.changed(seed=1).trial_id]]


def test_the_same_trial_in_another_sweep_is_not_trained_again(here):
    run(here)
    launcher = Counting()
    other = launch(SweepSpec(name="other", trials=SPECS[:2]), here, lambda: launcher)
    assert (other.exit_code, launcher.ran) == (0, [])


def test_one_failed_trial_does_not_stop_the_others(here):
    bad = TINY.changed(dataset="cifar10", image_size=0)
    outcome = run(here, [bad, *SPECS[:2]])
    assert (outcome.exit_code, outcome.counts["finished"]) == (1, 2)
    failure = Store(here.store).failure(bad.trial_id)
    assert failure.failure == "user"
    assert str(here.data) in failure.cause
    assert "Traceback" in failure.traceback


def test_the_log_of_each_trial_has_a_line_for_each_of_its_epochs(here):
    pack = [TINY, *heads(0.01, 0.02)]
    assert run(here, pack).exit_code == 0
    store = Store(here.store)
    for spec in pack:
        lines = (store.attempt_folder(spec.trial_id, 1) / LOG).read_text().splitlines()
        assert [line.split()[2:4] for line in lines] == [["epoch", f"{n}/2"] for n in range(3)]
        accuracy = store.result(spec.trial_id).metrics["test/accuracy"]
        assert f"accuracy {accuracy:5.2f} % · " in lines[-1]


def test_a_diverged_trial_keeps_its_history_and_runs_again_only_when_named(here):
    wild = TINY.changed(lr=1e30)
    assert run(here, [wild]).exit_code == 1
    store = Store(here.store)
    assert store.failure(wild.trial_id).failure == "diverged"
    assert [r.epoch for r in store.journal(wild.trial_id)] == [0]
    run(here, [wild])
    assert attempts(here, wild) == [1]
    run(here, [wild], order=Order(trials=(wild.trial_id,)))
    assert attempts(here, wild) == [1, 2]


def test_failed_trials_of_earlier_launches_run_again_unless_told_otherwise(here):
    claim = claimed(here, TINY)
    ownership.fail(claim, Failure(failure="code", cause="a bug, mended since"))
    assert run(here, [TINY], order=Order(retry_failed=False)).exit_code == 1
    assert attempts(here, TINY) == [1]
    assert run(here, [TINY]).exit_code == 0


def claimed(here, spec, **changes):
    store = Store(here.store)
    store.open_for_writing()
    owner = liveness.this_process("elsewhere", 1).model_copy(update=changes)
    return ownership.claim(store, spec, owner)


def test_a_trial_that_another_launch_trains_is_waited_for(here):
    claim = claimed(here, TINY, host="elsewhere", boot_id="other")

    def give_up():
        time.sleep(1.5)
        ownership.fail(claim, Failure(failure="stopped", cause="on request"))

    other = threading.Thread(target=give_up)
    other.start()
    launcher = Counting()
    outcome = run(here, [TINY, SPECS[1]], launcher)
    other.join()
    assert outcome.exit_code == 0
    assert launcher.ran[0] == [SPECS[1].trial_id]
    assert launcher.ran[-1] == [TINY.trial_id]


def test_without_waiting_such_a_launch_ends_incomplete(here):
    claimed(here, TINY, host="elsewhere", boot_id="other")
    outcome = run(here, [TINY, SPECS[1]], order=Order(wait=False))
    assert (outcome.exit_code, outcome.counts["running"]) == (4, 1)


def test_a_graceful_stop_lets_the_running_trial_finish_and_begins_no_other(here):
    store = Store(here.store)

    def stop(task):
        request_stop(store, "tiny", task.launch, "graceful") if launcher.ran else None

    launcher = Counting(before=stop)
    outcome = run(here, launcher=launcher)
    assert (outcome.exit_code, outcome.stopped) == (4, True)
    assert outcome.counts == {
        "pending": 3, "running": 0, "finished": 1, "failed": 0, "stopped": 0,
    }  # fmt: skip
    assert run(here).exit_code == 0


LONG = TINY.changed(epochs=400, train_subset=512)


def interrupt_when_running(here, act):
    def wait_and_act():
        store = Store(here.store)
        for _ in range(600):
            status = store.state(LONG)
            if status.epoch and status.epoch >= 1:
                break
            time.sleep(0.05)
        act(store)

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_running_trial_after_its_step_with_a_checkpoint(here, number):
    before = signal.getsignal(number)
    thread = interrupt_when_running(here, lambda _: os.kill(os.getpid(), number))
    watcher = Watcher()
    outcome = run(here, [LONG], observer=watcher)
    thread.join()
    assert (outcome.exit_code, outcome.statuses[0].state) == (4, "stopped")
    assert any("once more" in note for note in watcher.notes)
    store = Store(here.store)
    folder = store.attempt_folder(LONG.trial_id, 1)
    assert (folder / results.CHECKPOINT).exists()
    assert signal.getsignal(number) == before


def test_stopping_one_trial_leaves_the_others_alone(here):
    def act(store):
        request_stop(store, "tiny", 1, "now", [LONG.trial_id])

    thread = interrupt_when_running(here, act)
    outcome = run(here, [LONG, SPECS[0]])
    thread.join()
    assert [s.state for s in outcome.statuses] == ["stopped", "finished"]
    assert outcome.exit_code == 4


def test_the_same_traceback_twice_holds_back_the_like_and_says_so(here, monkeypatch):
    from trainer.packs import pack_training

    trained = pack_training.train
    specs = [TINY.changed(seed=seed) for seed in range(5)] + [SPECS[1]]

    def broken(spec, *args, **kwargs):
        if spec.trainable == "all":
            raise ZeroDivisionError("a bug in this mode")
        return trained(spec, *args, **kwargs)

    monkeypatch.setattr(pack_training, "train", broken)
    watcher = Watcher()
    slow = Counting(before=lambda _: time.sleep(1.2))
    outcome = run(here, specs, slow, observer=watcher)
    failed = [s for s in outcome.statuses if s.state == "failed"]
    assert 2 <= len(failed) < 5
    assert outcome.statuses[-1].state == "finished"
    assert outcome.counts["pending"] == 5 - len(failed)
    assert any("held back" in note and "ZeroDivisionError" in note for note in watcher.notes)


def test_an_interrupted_launch_resumes_from_the_checkpoint(here, monkeypatch):
    from trainer.packs import pack_training

    trained = pack_training.train

    def dies(spec, folder, *, options, **more):
        seen = []

        def record(r):
            seen.append(r)
            if r.epoch == 1:
                raise errors.Stopped("as a preemption would")

        return trained(spec, folder, options=replace(options, on_record=record), **more)

    monkeypatch.setattr(pack_training, "train", dies)
    assert run(here, [TINY]).exit_code == 4
    monkeypatch.setattr(pack_training, "train", trained)
    assert run(here, [TINY]).exit_code == 0
    store = Store(here.store)
    assert [(r.epoch, r.attempt) for r in store.journal(TINY.trial_id)] == [(0, 1), (1, 1), (2, 2)]
    start = liveness.read_start(store.attempt_folder(TINY.trial_id, 2))
    assert start.resumed_from == liveness.ResumedFrom(attempt=1, epoch=1)
    log = (store.attempt_folder(TINY.trial_id, 2) / LOG).read_text()
    assert log.splitlines()[0].endswith("goes on after epoch 1, from attempt 1")


class Leaving(InlineLauncher):
    """A machine that is about to go away within the first epoch of the first round's trials on."""

    def __init__(self):
        self.asked = 0

    def run(self, tasks):
        for task in tasks:
            worker.run_pack(task, leaving=self.leaves)
        self.asked = -1_000_000  # the next round is on another machine

    def leaves(self):
        self.asked += 1
        return self.asked > 2  # once before the claim, then at each step


def test_a_trial_whose_machine_goes_away_ends_after_its_step_and_moves_on(here, tmp_path):
    outcome = run(here, [TINY], Leaving())
    assert outcome.exit_code == 0
    store = Store(here.store)
    moved = store.failure_of(TINY.trial_id, 1)
    assert (moved.failure, moved.epoch) == ("moved", 0)
    assert "is being drained" in moved.cause
    log = (store.attempt_folder(TINY.trial_id, 2) / LOG).read_text()
    assert log.splitlines()[0].endswith("goes on after epoch 0, step 1, from attempt 1")
    undisturbed = replace(here, store=tmp_path / "undisturbed")
    run(undisturbed, [TINY])
    result, other = store.result(TINY.trial_id), Store(undisturbed.store).result(TINY.trial_id)
    assert result.metrics["test/loss"] == other.metrics["test/loss"]
    assert result.digests == other.digests


def test_nothing_is_begun_on_a_machine_that_goes_away(here):
    launcher = Leaving()
    launcher.asked = 2
    assert run(here, [TINY], launcher).exit_code == 0
    assert attempts(here, TINY) == [1]


def test_a_trial_has_the_sweeps_time_between_checkpoints_and_tells_its_steps(here, monkeypatch):
    from trainer.packs import pack_training

    given = []

    def dies_within_an_epoch(spec, folder, *, options, **more):
        given.append(options)
        raise errors.Stopped("as a preemption would")

    monkeypatch.setattr(pack_training, "train", dies_within_an_epoch)
    for every in ("90s", "off"):
        sweep = SweepSpec(name=every, trials=(TINY,), resources=Resources(checkpoint_every=every))
        launch(sweep, here, InlineLauncher)
    assert [options.checkpoint_every_s for options in given] == [90, None]
    assert all(isinstance(options.on_step.__self__, liveness.Heartbeat) for options in given)


def heads(*rates):
    return [TINY.changed(trainable="output_only", lr=rate) for rate in rates]


def test_trials_that_share_a_frozen_network_run_as_one_pack_with_results_of_their_own(here):
    specs = heads(0.01, 0.02, 0.04)
    launcher = Counting()
    assert run(here, [*specs, SPECS[0]], launcher).exit_code == 0
    assert sorted(map(len, launcher.ran)) == [1, 3]
    store = Store(here.store)
    packed = {s.trial_id: store.result(s.trial_id) for s in specs}
    assert {r.numerics["packed"] for r in packed.values()} == {3}
    alone = settings.load(store=here.store.parent / "alone", data=here.data)
    off = SweepSpec(name="tiny", trials=specs, resources=Resources(pack="off"))
    launcher = Counting()
    assert launch(off, alone, lambda: launcher).exit_code == 0
    assert list(map(len, launcher.ran)) == [1, 1, 1]
    for spec in specs:
        other = Store(alone.store).result(spec.trial_id)
        assert other.digests["final"] == packed[spec.trial_id].digests["final"]


@pytest.mark.parametrize(("gpus", "device"), [(0.0, "cpu"), ("auto", "auto")])
def test_trials_that_asked_for_no_gpu_take_none_that_happens_to_be_there(gpus, device, here):
    tasks = []
    asked = SweepSpec(name="tiny", trials=SPECS[:1], resources=Resources(gpus=gpus))
    assert launch(asked, here, lambda: Counting(before=tasks.append)).exit_code == 0
    assert [task.device for task in tasks] == [device]


@pytest.mark.parametrize("kernels", ["stock", "fused"])
def test_the_kernels_that_resources_ask_for_compute_the_trial(kernels, here):
    if kernels == "fused" and (problem := build.problem()):
        pytest.skip(problem)
    asked = SweepSpec(name="tiny", trials=SPECS[:1], resources=Resources(kernels=kernels))
    assert launch(asked, here, Counting).exit_code == 0
    assert Store(here.store).result(SPECS[0].trial_id).numerics["kernels"] == kernels


def test_a_member_that_diverges_fails_alone_and_the_pack_goes_on(here):
    good, bad = heads(0.01, 1e38)
    outcome = run(here, [good, bad])
    assert [s.state for s in outcome.statuses] == ["finished", "failed"]
    assert Store(here.store).failure(bad.trial_id).failure == "diverged"


def test_a_pack_that_runs_out_of_memory_is_split(here, monkeypatch):
    from trainer.packs import pack_training

    trained = pack_training.train_pack

    def needs_room(members, options):
        if len(members) > 1:
            return [errors.OutOfMemory("no room", 123) for _ in members]
        return trained(members, options)

    monkeypatch.setattr(pack_training, "train_pack", needs_room)
    launcher = Counting()
    outcome = run(here, heads(0.01, 0.02), launcher)
    assert outcome.exit_code == 0
    assert list(map(len, launcher.ran)) == [2, 1, 1]


@pytest.mark.parametrize(
    ("resources", "lengths"),
    [
        (Resources(gpus=1.0, pack=3), [2, 2]),
        (Resources(gpus=0.5, pack=8), [4]),
        (Resources(gpus=1.0), [4]),
        (Resources(gpus=1.0, pack=1), [1, 1, 1, 1]),
        (Resources(pack=4), [1, 1, 1, 1]),
        (Resources(gpus=0.0, pack=4), [1, 1, 1, 1]),
    ],
)
def test_trials_of_any_mode_and_seed_form_packs_where_a_gpu_is_asked_for(resources, lengths, here):
    launcher = Counting()
    sweep = SweepSpec(name="tiny", trials=SPECS, resources=resources)
    assert launch(sweep, here, lambda: launcher).exit_code == 0
    assert list(map(len, launcher.ran)) == lengths


def test_a_member_without_memory_runs_again_alone_and_the_others_keep_their_results(
    here, monkeypatch
):
    from trainer.packs import pack_training

    trained = pack_training.train_pack

    def no_room_for_the_first(members, options):
        if len(members) == 1:
            return trained(members, options)
        return [errors.OutOfMemory("no room"), *trained(members[1:], options)]

    monkeypatch.setattr(pack_training, "train_pack", no_room_for_the_first)
    launcher = Counting()
    sweep = SweepSpec(name="tiny", trials=SPECS[:3], resources=Resources(gpus=1.0, pack=3))
    assert launch(sweep, here, lambda: launcher).exit_code == 0
    assert launcher.ran == [[s.trial_id for s in SPECS[:3]], [SPECS[0].trial_id]]
    assert [attempts(here, spec) for spec in SPECS[:3]] == [[1, 2], [1], [1]]


def test_pretrained_weights_are_kept_in_the_store_and_reach_the_trial(here, tmp_path):
    import hashlib

    import torch

    from trainer.weights import initial

    source = tmp_path / "theirs.pt"
    torch.save(initial.build(TINY.changed(seed=9)).state_dict(), source)
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    spec = TINY.changed(trainable="bn_only", weights="pretrained", weights_sha256=sha256)
    outcome = launch(SweepSpec(name="tiny", trials=[spec], files={sha256: source}), here, Counting)
    assert outcome.exit_code == 0
    source.unlink()
    again = spec.changed(lr=0.02)
    assert launch(SweepSpec(name="tiny", trials=[again]), here, Counting).exit_code == 0


DIES_BEFORE_PUBLISHING = """
import os, signal, sys
from pathlib import Path
from orchestrator import settings
from orchestrator.launching import driver
from orchestrator.store import ownership
from orchestrator.sweep.sweep_spec import SweepSpec
from trainer.spec import TrialSpec
ownership.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
here = settings.load(store=Path(sys.argv[1]), data=Path(sys.argv[2]))
spec = TrialSpec.model_validate_json(sys.argv[3])
driver.launch(SweepSpec(name="tiny", trials=[spec]), here, driver.InlineLauncher)
"""


def test_a_worker_killed_between_its_result_and_the_publishing_leaves_a_finished_trial(here):
    """It was taken for running, for ever, and a launch waited for it."""
    arguments = [here.store, here.data, TINY.model_dump_json()]
    died = subprocess.run([sys.executable, "-c", DIES_BEFORE_PUBLISHING, *arguments])
    assert died.returncode == -signal.SIGKILL
    status = Store(here.store).state(TINY)
    assert (status.state, "before its result was published" in status.cause) == ("stopped", True)
    assert run(here, [TINY]).exit_code == 0
    assert attempts(here, TINY) == [1]


def test_a_trial_that_another_launch_began_and_was_told_to_stop_is_taken_over(here):
    def another_begins_the_next(_):
        if not attempts(here, SPECS[1]):
            claim = claimed(here, SPECS[1])
            ownership.fail(claim, Failure(failure="stopped", cause="on request", attempt=1))

    outcome = run(here, SPECS[:2], Counting(before=another_begins_the_next))
    assert outcome.exit_code == 0
    assert attempts(here, SPECS[1]) == [1, 2]


def test_a_launch_of_named_trials_does_not_wait_for_the_others(here):
    claimed(here, SPECS[1], host="elsewhere", boot_id="other")
    outcome = run(here, SPECS[:2], order=Order(trials=(SPECS[0].trial_id,)))
    assert [s.state for s in outcome.statuses] == ["finished", "running"]


def test_workers_that_do_not_obey_are_left_after_the_grace_whoever_asked(here, monkeypatch):
    monkeypatch.setattr(monitor, "GRACE_S", 0.1)
    over = threading.Event()

    class Hanging(InlineLauncher):
        def run(self, tasks):
            request_stop(Store(here.store), "tiny", tasks[0].launch, "now")
            assert over.wait(60), "nobody ended it"

    watcher = Watcher()
    outcome = run(here, [TINY], Hanging(), observer=watcher)
    assert outcome.stopped
    assert any("ended at once" in note for note in watcher.notes)


def test_a_signal_on_a_full_disk_is_no_crash(here, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    class Interrupted(InlineLauncher):
        def run(self, tasks):
            with monkeypatch.context() as patched:
                patched.setattr(Store, "request_stop", full)
                os.kill(os.getpid(), signal.SIGINT)
            super().run(tasks)

    watcher = Watcher()
    assert run(here, [TINY], Interrupted(), observer=watcher).exit_code == 0
    assert any("No space left" in note for note in watcher.notes)


def test_a_launch_that_only_waited_gives_the_forwarders_lease_back(here):
    claim = claimed(here, TINY, host="elsewhere", boot_id="other")
    tracker = MemoryTracker()

    def give_up():
        time.sleep(1.5)
        ownership.fail(claim, Failure(failure="stopped", cause="on request"))

    other = threading.Thread(target=give_up)
    other.start()
    outcome = run(here, [TINY], tracker=tracker)
    other.join()
    assert (outcome.exit_code, outcome.backlog.empty) == (0, True)
    assert Lease(Store(here.store), "tiny").take()


def test_a_claim_whose_folder_is_gone_is_no_crash_and_its_pack_says_why(here):
    held = [(spec, claimed(here, spec)) for spec in heads(0.01, 0.02)]
    shutil.rmtree(held[0][1].folder)
    task = worker.PackTask(
        store=here.store, data=here.data, sweep="tiny", launch=1, trials=[spec for spec, _ in held]
    )
    worker.run_claimed(Store(here.store), task, held)
    assert Store(here.store).state(held[1][0]).state == "failed"
    assert run(here, [spec for spec, _ in held]).exit_code == 0


def test_a_trial_of_no_epochs_is_evaluated_under_each_schedule(here):
    specs = [TINY.changed(epochs=0, schedule=name) for name in ("step", "constant", "cosine")]
    assert run(here, specs).exit_code == 0


def test_a_stop_during_the_last_trial_leaves_a_finished_sweep(here):
    class StopsWithin(Counting):
        def run(self, tasks):
            super().run(tasks)
            request_stop(Store(here.store), "tiny", tasks[0].launch, "graceful")

    outcome = run(here, SPECS[:1], StopsWithin())
    assert (outcome.stopped, outcome.exit_code) == (True, 0)
