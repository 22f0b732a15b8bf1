"""The forwarder against a tracker in memory and trial folders of a real store."""

import errno
import itertools
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from made_trials import a_store, claimed, failed, finished, launched, record, trained, write

from orchestrator.errors import UnreachableError
from orchestrator.store.folder import HEARTBEAT, LOG, START
from orchestrator.store.liveness import ResumedFrom
from orchestrator.store.ownership import Lease
from orchestrator.tracking import cursor
from orchestrator.tracking.forwarder import Forwarder, sync
from orchestrator.tracking.memory_tracker import MemoryTracker
from orchestrator.tracking.tracker import POINTS_A_CALL, Refused, points_of
from trainer import files
from trainer.spec import TrialSpec

SPECS = [TrialSpec(epochs=3, seed=seed) for seed in range(3)]
SPEC = SPECS[0]


@pytest.fixture
def store(tmp_path):
    store = a_store(tmp_path)
    launched(store, SPECS)
    return store


@pytest.fixture
def tracker():
    return MemoryTracker()


@pytest.fixture
def forwarder(store, tracker):
    forwarder = Forwarder(store, "depth", SPECS, tracker)
    yield forwarder
    forwarder.close()


def runs(store, tracker):
    return {run.trial_id: run for run in tracker.runs(tracker.open("depth"), store.identity)}


def the_run(store, tracker, spec=SPEC):
    (run,) = tracker.runs(tracker.open("depth"), store.identity, spec.trial_id)
    return run


def assert_mirrored(store, tracker, spec=SPEC):
    """The one run has every point of the journal once, and nothing else."""
    run = the_run(store, tracker, spec)
    stored = [point.identity for point in tracker.points(run.run_id)]
    told = [point.identity for point in points_of(store.journal(spec.trial_id))]
    assert sorted(stored) == sorted(told)
    return run


def test_a_finished_trial_becomes_one_run_with_params_tags_points_and_files(
    store, tracker, forwarder
):
    trained(store, SPEC)
    assert forwarder.pass_once().empty
    run = assert_mirrored(store, tracker)
    assert (run.name, run.status) == ("d14 all s0", "FINISHED")
    assert (run.started_ms, run.ended_ms) == (1_700_000_000_000, 1_700_000_003_000)
    assert run.params["depth"] == "14"
    assert run.params["milestones"] == "[1, 2]"
    counts = {name for name in run.params if name.startswith("params_")}
    assert set(run.params) - counts == set(TrialSpec.model_fields)
    assert counts == {f"params_{n}" for n in ("total", "trainable", "bn", "output", "shortcut")}
    assert {n: v for n, v in run.tags.items() if n.startswith("bnsweep.")} == {
        "bnsweep.sweep": "depth",
        "bnsweep.trial_id": SPEC.trial_id,
        "bnsweep.config_id": SPEC.config_id,
        "bnsweep.store": store.identity,
        "bnsweep.state": "finished",
    }
    assert tracker.artifacts(run.run_id) == ["final.pt", "freeze_proof.json"]


def test_a_pending_trial_has_no_run(store, tracker, forwarder):
    assert forwarder.pass_once().empty
    assert runs(store, tracker) == {}


def test_a_running_trial_is_followed_epoch_by_epoch(store, tracker, forwarder):
    claim = claimed(store, SPEC)
    assert forwarder.pass_once().empty
    assert runs(store, tracker) == {}
    for epoch in range(3):
        write(claim, record(epoch))
        forwarder.pass_once()
        assert assert_mirrored(store, tracker).status == "RUNNING"
    write(claim, record(3))
    finished(store, claim, SPEC)
    forwarder.pass_once()
    assert assert_mirrored(store, tracker).status == "FINISHED"
    assert tracker.calls.count("create") == 1


def test_what_is_sent_is_not_looked_at_again(store, tracker, forwarder):
    for spec in SPECS:
        trained(store, spec)
    forwarder.pass_once()
    tracker.calls.clear()
    forwarder.pass_once()
    assert tracker.calls == ["open"]


def test_a_new_process_goes_on_where_the_last_one_was(store, tracker, forwarder):
    trained(store, SPEC)
    forwarder.pass_once()
    forwarder.close()
    tracker.calls.clear()
    second = Forwarder(store, "depth", SPECS, tracker)
    assert second.pass_once().empty
    second.close()
    assert tracker.calls == ["open"]


def test_new_runs_need_one_listing_and_no_lookups(store, tracker, forwarder):
    for spec in SPECS:
        trained(store, spec)
    assert forwarder.pass_once().empty
    assert (tracker.calls.count("runs"), tracker.calls.count("create")) == (1, len(SPECS))


def test_after_a_forwarder_that_was_cut_off_each_new_run_is_looked_up(store, tracker):
    dead = Lease(store, "depth")
    dead.take()
    start = dead._mine / START
    start.write_text(start.read_text().replace(f'"pid":{os.getpid()}', '"pid":999999999'))
    forwarder = Forwarder(store, "depth", SPECS, tracker)
    for spec in SPECS:
        trained(store, spec)
    assert forwarder.pass_once().empty
    forwarder.close()
    assert tracker.calls.count("runs") == len(SPECS)


def test_runs_that_another_forwarder_made_in_the_meantime_are_found(store, tracker, forwarder):
    trained(store, SPECS[0])
    forwarder.pass_once()
    forwarder.close()
    trained(store, SPECS[1])
    other = Forwarder(store, "depth", SPECS, tracker)
    other.pass_once()
    other.close()
    cursor.path_of(store, "depth", SPECS[1].trial_id).unlink()
    forwarder.pass_once()
    assert_mirrored(store, tracker, SPECS[1])


def test_a_failed_trial_says_why_and_a_retry_that_finishes_has_no_cause(store, tracker, forwarder):
    claim = claimed(store, SPEC)
    write(claim, record(0), record(1))
    failed(claim, "oom", "out of memory")
    forwarder.pass_once()
    run = assert_mirrored(store, tracker)
    assert run.status == "FAILED"
    assert run.tags["bnsweep.failure"] == "oom"
    assert run.tags["bnsweep.cause"] == "out of memory"
    assert (run.tags["bnsweep.host"], run.tags["bnsweep.attempt"]) == ("there", "1")
    assert tracker.artifacts(run.run_id) == ["attempts/1/error.json", "attempts/1/log.txt"]

    again = claimed(store, SPEC, ResumedFrom(attempt=1, epoch=1))
    forwarder.pass_once()
    assert assert_mirrored(store, tracker).status == "RUNNING"
    write(again, record(2), record(3))
    finished(store, again, SPEC)
    forwarder.pass_once()
    run = assert_mirrored(store, tracker)
    assert (run.status, run.tags["bnsweep.cause"]) == ("FINISHED", "")
    assert "attempts/1/log.txt" in tracker.artifacts(run.run_id)
    assert tracker.calls.count("create") == 1


def test_a_trial_that_failed_before_its_first_record_has_a_run(store, tracker, forwarder):
    failed(claimed(store, SPEC), "user")
    assert forwarder.pass_once().empty
    assert the_run(store, tracker).status == "FAILED"


def test_a_stopped_trial_is_killed(store, tracker, forwarder):
    claim = claimed(store, SPEC)
    write(claim, record(0))
    failed(claim, "stopped")
    forwarder.pass_once()
    run = assert_mirrored(store, tracker)
    assert (run.status, run.tags["bnsweep.state"]) == ("KILLED", "stopped")


def test_an_epoch_replayed_with_the_same_record_is_sent_once(store, tracker, forwarder):
    claim = claimed(store, SPEC)
    write(claim, record(0), record(1))
    failed(claim, "io")
    forwarder.pass_once()
    again = claimed(store, SPEC, ResumedFrom(attempt=1, epoch=1))
    write(again, record(1), record(2))
    forwarder.pass_once()
    assert_mirrored(store, tracker)
    assert tracker.calls.count("create") == 1


def test_an_epoch_replayed_with_other_values_leaves_no_dead_trajectory(store, tracker, forwarder):
    claim = claimed(store, SPEC)
    write(claim, record(0), record(1), record(2))
    failed(claim, "io")
    forwarder.pass_once()
    first = the_run(store, tracker).run_id
    again = claimed(store, SPEC, ResumedFrom(attempt=1, epoch=0))
    write(again, record(1, 7.0), record(2, 8.0))
    backlog = forwarder.pass_once()
    assert assert_mirrored(store, tracker).run_id != first
    assert "built anew" in backlog.notes[0]


def test_a_discarded_trial_loses_its_run_and_gets_a_new_one(store, tracker, forwarder):
    trained(store, SPEC)
    forwarder.pass_once()
    store.discard(SPEC.trial_id)
    assert forwarder.pass_once().empty
    assert runs(store, tracker) == {}
    trained(store, SPEC)
    forwarder.pass_once()
    assert_mirrored(store, tracker)


def test_a_long_history_goes_in_full_batches_in_order(store, tracker, forwarder):
    claim = claimed(store, SPEC)
    write(claim, *(record(epoch) for epoch in range(400)))
    sizes = []
    send = tracker.send

    def counting(run_id, points=(), params=None, tags=None):
        sizes.append(len(points))
        send(run_id, points, params, tags)

    tracker.send = counting
    forwarder.pass_once()
    assert_mirrored(store, tracker)
    assert sizes == [996, 996, 408]
    assert max(sizes) <= POINTS_A_CALL


def test_a_dead_tracker_is_said_and_everything_arrives_later(store, tracker, forwarder):
    tracker.down = True
    trained(store, SPEC)
    failed(claimed(store, SPECS[1]))
    backlog = forwarder.pass_once()
    assert (backlog.trials, backlog.records) == (2, 4)
    assert "down" in backlog.problem
    assert forwarder.problem == backlog.problem
    tracker.down = False
    assert forwarder.pass_once().empty
    assert forwarder.problem == ""
    assert_mirrored(store, tracker)


class Flaky(MemoryTracker):
    """Fails every nth call; `late`: after having done it, like a lost answer."""

    def __init__(self, every: int, late: bool) -> None:
        super().__init__()
        self.every, self.late, self._count = every, late, itertools.count(1)

    def _fails(self) -> bool:
        return next(self._count) % self.every == 0

    def _flaky(self, call, *args):
        fails = self._fails()
        if fails and not self.late:
            raise UnreachableError("the connection broke")
        result = call(*args)
        if fails:
            raise UnreachableError("the answer was lost")
        return result

    def create(self, *args):
        return self._flaky(super().create, *args)

    def send(self, *args, **kwargs):
        return self._flaky(lambda: super(Flaky, self).send(*args, **kwargs))

    def introduce(self, *args):
        return self._flaky(super().introduce, *args)

    def add_data(self, *args):
        return self._flaky(super().add_data, *args)

    def upload(self, *args):
        return self._flaky(super().upload, *args)

    def set_status(self, *args):
        return self._flaky(super().set_status, *args)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("every", [2, 3, 4, 5, 7])
def test_whatever_call_fails_there_is_one_run_with_every_point_once(store, every, late):
    tracker = Flaky(every, late)
    forwarder = Forwarder(store, "depth", SPECS, tracker)
    claims_ = [claimed(store, spec) for spec in SPECS]
    for epoch in range(4):
        for claim in claims_:
            write(claim, record(epoch))
        forwarder.pass_once()
    finished(store, claims_[0], SPECS[0])
    failed(claims_[1])
    for _ in range(40):
        if forwarder.pass_once().empty:
            break
    forwarder.close()
    for spec, status in zip(SPECS, ("FINISHED", "FAILED", "RUNNING"), strict=True):
        assert assert_mirrored(store, tracker, spec).status == status
    run = the_run(store, tracker, SPECS[0])
    assert run.params["params_bn"] == "1120"
    assert tracker.data[run.run_id] == {("cifar10", "d" * 16)}
    assert run.name == "d14 all s0"


def test_a_create_that_arrives_late_leaves_one_run(store, tracker, forwarder):
    """The first create seemed lost, a second was made, then the first one showed up."""
    create = tracker.create
    late = []

    def losing(*args):
        late.append(args)
        raise UnreachableError("timed out")

    claim = claimed(store, SPEC)
    write(claim, record(0))
    tracker.create = losing
    forwarder.pass_once()
    tracker.create = create
    forwarder.pass_once()
    create(*late[0])
    write(claim, record(1), record(2), record(3))
    finished(store, claim, SPEC)
    assert forwarder.pass_once().empty
    assert assert_mirrored(store, tracker).status == "FINISHED"


def test_a_crash_between_sending_and_noting_it_doubles_nothing(store, tracker, forwarder):
    """Points arrived, the cursor was not written; then those epochs came out otherwise."""
    claim = claimed(store, SPEC)
    write(claim, record(0), record(1))
    sent = tracker.send

    def dying(*args, **kwargs):
        sent(*args, **kwargs)
        raise KeyboardInterrupt

    tracker.send = dying
    with pytest.raises(KeyboardInterrupt):
        forwarder.pass_once()
    tracker.send = sent
    forwarder.close()
    failed(claim, "io")
    again = claimed(store, SPEC, ResumedFrom(attempt=1, epoch=0))
    write(again, record(1, 99.0))
    second = Forwarder(store, "depth", SPECS, tracker)
    assert second.pass_once().empty
    second.close()
    assert_mirrored(store, tracker)


def test_a_run_deleted_by_hand_is_restored_and_it_is_said(store, tracker, forwarder):
    claim = claimed(store, SPEC)
    write(claim, record(0))
    forwarder.pass_once()
    run = the_run(store, tracker)
    tracker.remove(run.run_id)
    write(claim, record(1))
    backlog = forwarder.pass_once()
    assert backlog.empty
    assert assert_mirrored(store, tracker).run_id == run.run_id
    assert "restored" in backlog.notes[0]


def test_sync_sends_a_finished_trial_again_whose_run_was_deleted_for_good(store, tracker):
    trained(store, SPEC)
    assert sync(store, "depth", tracker).empty
    tracker._runs.clear()
    backlog = sync(store, "depth", tracker)
    assert backlog.empty
    assert "sent again" in backlog.notes[0]
    assert assert_mirrored(store, tracker).status == "FINISHED"


def test_sync_mends_what_was_changed_by_hand(store, tracker):
    trained(store, SPEC)
    sync(store, "depth", tracker)
    run = the_run(store, tracker)
    tracker.send(run.run_id, tags={"bnsweep.state": "failed"})
    tracker.set_status(run.run_id, "FAILED", None)
    assert sync(store, "depth", tracker).empty
    run = assert_mirrored(store, tracker)
    assert (run.status, run.tags["bnsweep.state"]) == ("FINISHED", "finished")


def test_sync_removes_a_second_run_and_keeps_the_oldest(store, tracker):
    trained(store, SPEC)
    sync(store, "depth", tracker)
    first = the_run(store, tracker)
    tracker.create(tracker.open("depth"), SPEC.trial_id, first.tags, 1_800_000_000_000)
    assert "second run" in sync(store, "depth", tracker).notes[0]
    assert assert_mirrored(store, tracker).run_id == first.run_id


def test_a_lost_cursor_costs_a_comparison_and_no_double(store, tracker):
    trained(store, SPEC)
    sync(store, "depth", tracker)
    shutil.rmtree(store.forward_folder("depth"))
    sync(store, "depth", tracker)
    assert_mirrored(store, tracker)
    assert tracker.calls.count("create") == 1


def test_a_lost_cursor_and_another_history_build_the_run_anew(store, tracker):
    trained(store, SPEC)
    sync(store, "depth", tracker)
    shutil.rmtree(store.forward_folder("depth"))
    store.discard(SPEC.trial_id)
    claim = claimed(store, SPEC)
    write(claim, record(0, 1.0, 5), record(1, 2.0, 6))
    sync(store, "depth", tracker)
    assert_mirrored(store, tracker)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sent": "many"}', b"\xff"])
def test_a_damaged_cursor_is_a_lost_one(store, tracker, forwarder, content):
    trained(store, SPEC)
    forwarder.pass_once()
    cursor.path_of(store, "depth", SPEC.trial_id).write_bytes(content)
    assert sync_with(forwarder, store, tracker).empty
    assert_mirrored(store, tracker)


def sync_with(forwarder, store, tracker):
    forwarder.close()
    return sync(store, "depth", tracker)


def test_another_tracker_gets_everything(store, tracker, forwarder):
    trained(store, SPEC)
    forwarder.pass_once()
    other = MemoryTracker()
    assert sync_with(forwarder, store, other).empty
    assert_mirrored(store, other)


def test_two_stores_with_a_sweep_of_one_name_do_not_touch_each_others_runs(tmp_path, tracker):
    stores = [a_store(tmp_path / name) for name in ("here", "there")]
    for number, store in enumerate(stores):
        launched(store, SPECS)
        claim = claimed(store, SPEC)
        write(claim, record(0, float(number)))
        sync(store, "depth", tracker)
    for store in stores:
        assert_mirrored(store, tracker)


def test_a_refused_trial_does_not_hold_up_the_others(store, tracker, forwarder):
    for spec in SPECS:
        trained(store, spec)
    create = tracker.create

    def choosy(experiment, name, tags, started_ms):
        if tags["bnsweep.trial_id"] == SPEC.trial_id:
            raise Refused("not this one")
        return create(experiment, name, tags, started_ms)

    tracker.create = choosy
    backlog = forwarder.pass_once()
    assert backlog.trials == 1
    assert backlog.problem == f"{SPEC.trial_id}: not this one"
    assert [run.status for run in runs(store, tracker).values()] == ["FINISHED"] * 2


def test_a_found_run_with_other_params_is_built_anew(store, tracker, forwarder):
    trained(store, SPEC)
    tags = {"bnsweep.trial_id": SPEC.trial_id, "bnsweep.store": store.identity}
    run_id = tracker.create(tracker.open("depth"), SPEC.trial_id, tags, 1)
    tracker.send(run_id, params={"depth": "999"})
    assert forwarder.pass_once().empty
    assert the_run(store, tracker).params["depth"] == "14"


def test_sync_says_that_the_tracker_is_not_reached(store, tracker):
    tracker.down = True
    with pytest.raises(UnreachableError, match="down"):
        sync(store, "depth", tracker)


def test_an_error_of_our_own_is_said_and_does_not_reach_the_sweep(store, tracker, forwarder):
    trained(store, SPEC)
    tracker.create = None
    assert "TypeError" in forwarder.pass_once().problem


def test_only_one_forwarder_of_a_sweep_sends(store, tracker, forwarder):
    trained(store, SPEC)
    holder = Lease(store, "depth")
    assert holder.take()
    backlog = forwarder.pass_once()
    assert backlog.trials == 1
    assert "is sending this sweep" in backlog.problem
    assert tracker.calls == []
    holder.release()
    assert forwarder.pass_once().empty


def test_the_thread_forwards_drains_and_ends(store, tracker):
    made = []

    def make():
        made.append(tracker)
        return tracker

    forwarder = Forwarder(store, "depth", SPECS, make, interval_s=0.01)
    assert made == []
    forwarder.start()
    for spec in SPECS:
        trained(store, spec)
    assert forwarder.drain(30.0).empty
    forwarder.close()
    for spec in SPECS:
        assert_mirrored(store, tracker, spec)
    assert made == [tracker]
    assert Lease(store, "depth").take()


def test_draining_to_a_dead_tracker_returns_at_once_with_the_backlog(store, tracker):
    tracker.down = True
    trained(store, SPEC)
    forwarder = Forwarder(store, "depth", SPECS, tracker)
    forwarder.start()
    backlog = forwarder.drain(30.0)
    forwarder.close()
    assert (backlog.trials, backlog.records) == (1, 4)


def test_a_missing_artifact_does_not_matter(store, tracker, forwarder):
    claim = claimed(store, SPEC)
    failed(claim)
    (claim.folder / LOG).unlink()
    assert forwarder.pass_once().empty


def test_sync_that_waited_leaves_the_runs_of_a_launch_that_began_meanwhile(store, tracker):
    trained(store, SPEC)
    holder = Lease(store, "depth")
    assert holder.take()
    new = SPEC.changed(seed=7)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sync, store, "depth", tracker)
        while "check" not in tracker.calls:
            time.sleep(0.01)
        time.sleep(0.1)
        launched(store, [new])
        trained(store, new)
        forwarder = Forwarder(store, "depth", [new], tracker)
        forwarder._lease = holder
        assert forwarder.pass_once().empty
        forwarder.close()
        assert waiting.result().empty
    assert set(runs(store, tracker)) == {SPEC.trial_id, new.trial_id}


def test_while_a_launch_cannot_be_read_no_run_is_removed(store, tracker):
    trained(store, SPEC)
    sync(store, "depth", tracker)
    launched(store, SPECS[1:])
    (store.sweep_folder("depth") / "launches" / "1.json").write_bytes(b"")
    assert sync(store, "depth", tracker).empty
    assert set(runs(store, tracker)) == {SPEC.trial_id}


def test_a_discarded_trial_without_a_record_loses_its_run_too(store, tracker, forwarder):
    failed(claimed(store, SPEC), "user")
    forwarder.pass_once()
    store.discard(SPEC.trial_id)
    assert forwarder.pass_once().empty
    assert runs(store, tracker) == {}


def test_a_forwarder_that_was_closed_within_a_call_gives_the_lease_back_after_it(store, tracker):
    trained(store, SPEC)
    create, inside, go_on = tracker.create, threading.Event(), threading.Event()

    def slow(*args):
        inside.set()
        go_on.wait(60)
        return create(*args)

    tracker.create = slow
    forwarder = Forwarder(store, "depth", SPECS, tracker)
    forwarder.start()
    assert inside.wait(60)
    forwarder.close(0.01)
    assert not Lease(store, "depth").take()
    go_on.set()
    forwarder._thread.join(60)
    assert Lease(store, "depth").take()


@pytest.mark.parametrize("name", [START, HEARTBEAT])
def test_a_lease_that_cannot_be_written_is_held_by_nobody(store, monkeypatch, name):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        if name == START:
            patched.setattr(files, "write_json", full)
        else:
            patched.setattr(Path, "touch", full)
        with pytest.raises(OSError, match="No space"):
            Lease(store, "depth").take()
    assert Lease(store, "depth").take()


def test_a_damaged_store_json_sends_nothing_under_another_name(store, tracker):
    trained(store, SPEC)
    sync(store, "depth", tracker)
    marker = store.root / "store.json"
    content = marker.read_bytes()
    marker.write_bytes(b"")
    with pytest.raises(UnreachableError, match=r"store\.json: is damaged"):
        sync(store, "depth", tracker)
    marker.write_bytes(content)
    assert_mirrored(store, tracker)
    assert tracker.calls.count("create") == 1


def test_the_forwarder_that_has_the_lease_sends_the_trials_of_all_launches(store, tracker):
    first, later = SPEC.changed(seed=7), SPEC.changed(seed=8)
    launched(store, [first])
    trained(store, first)
    forwarder = Forwarder(store, "depth", SPECS, tracker)
    assert forwarder.pass_once().empty
    launched(store, [later])
    trained(store, later)
    assert forwarder.pass_once().empty
    forwarder.close()
    assert set(runs(store, tracker)) == {first.trial_id, later.trial_id}


def test_an_experiment_that_the_tracker_refuses_is_a_line_without_a_traceback(
    store, tracker, forwarder, monkeypatch, caplog
):
    def refuse(sweep):
        raise Refused("MLflow at http://there rejects: no such name")

    trained(store, SPEC)
    monkeypatch.setattr(tracker, "open", refuse)
    assert forwarder.pass_once().problem == "MLflow at http://there rejects: no such name"
    assert "Traceback" not in caplog.text
