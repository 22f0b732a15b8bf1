"""Ownership without locks: who may train a trial, and what a zombie cannot spoil."""

import errno
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from made_results import made

from orchestrator.errors import UserError
from orchestrator.store import liveness, ownership
from orchestrator.store.failures import Failure
from orchestrator.store.folder import ATTEMPTS, HEARTBEAT
from orchestrator.store.store import Store
from trainer import files, journal, results
from trainer.journal import Record
from trainer.spec import TrialSpec

SPEC = TrialSpec(epochs=3)
OTHER_HOST = {"boot_id": "another boot", "host": "elsewhere"}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.open_for_writing()
    return store


def owner(**changes):
    return liveness.this_process("sweep", 1).model_copy(update=changes)


def dead_owner():
    """A process of this host that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = liveness.process_start(child.pid)
    child.communicate(b"\n")
    return owner(pid=child.pid, process_start=start)


def age(claim, seconds):
    """Make the attempt's heartbeat `seconds` old."""
    beat = claim.folder / HEARTBEAT
    beat.touch()
    old = beat.stat().st_mtime - seconds
    os.utime(beat, (old, old))


def record(epoch, attempt, value=0.0):
    return Record(
        seq=epoch,
        time_ms=1000 * attempt + epoch,
        step=epoch,
        epoch=epoch,
        attempt=attempt,
        metrics={"test/accuracy": value},
    )


def finish(store, claim, accuracy=50.0):
    results.write(claim.folder / results.RESULT, made(SPEC, accuracy))
    return ownership.publish(store, claim)


def test_the_first_claim_is_attempt_one_and_stores_the_spec(store):
    claim = ownership.claim(store, SPEC, owner())
    assert claim.number == 1
    assert store.spec(SPEC.trial_id) == SPEC
    assert liveness.read_start(claim.folder) == claim.start


def test_a_living_attempt_keeps_its_trial(store):
    assert ownership.claim(store, SPEC, owner()) is not None
    assert ownership.claim(store, SPEC, owner()) is None


def test_of_many_who_claim_at_once_one_gets_the_trial(store):
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: ownership.claim(store, SPEC, owner()), range(64)))
    assert sum(claim is not None for claim in found) == 1
    assert store.attempts(SPEC.trial_id) == [1]


def test_an_attempt_that_ended_gives_way(store):
    first = ownership.claim(store, SPEC, owner())
    ownership.fail(first, Failure(failure="code", cause="a bug"))
    assert ownership.claim(store, SPEC, owner()).number == 2


def test_a_process_that_is_gone_on_this_host_gives_way_at_once(store):
    ownership.claim(store, SPEC, dead_owner())
    assert ownership.claim(store, SPEC, owner()).number == 2


def test_a_pid_that_was_given_out_again_counts_as_gone(store):
    ownership.claim(store, SPEC, owner(process_start="1"))
    assert ownership.claim(store, SPEC, owner()).number == 2


def test_an_owner_on_another_host_keeps_its_trial_until_its_heartbeat_is_stale(store):
    first = ownership.claim(store, SPEC, owner(**OTHER_HOST))
    age(first, liveness.STALE_S - 10)
    assert ownership.claim(store, SPEC, owner()) is None
    age(first, liveness.STALE_S + 10)
    assert ownership.claim(store, SPEC, owner()).number == 2


def test_a_claim_without_start_json_counts_as_a_sign_of_life_while_it_is_fresh(store):
    folder = store.attempt_folder(SPEC.trial_id, 1)
    folder.mkdir(parents=True)
    assert ownership.claim(store, SPEC, owner()) is None
    old = folder.stat().st_mtime - liveness.STALE_S - 10
    os.utime(folder, (old, old))
    assert ownership.claim(store, SPEC, owner()).number == 2


def test_a_finished_trial_is_not_claimed_again(store):
    assert finish(store, ownership.claim(store, SPEC, owner()))
    assert ownership.claim(store, SPEC, owner()) is None
    assert store.attempts(SPEC.trial_id) == [1]


def test_the_first_result_stands_and_a_zombies_is_not_read(store):
    zombie = ownership.claim(store, SPEC, owner(**OTHER_HOST))
    age(zombie, liveness.STALE_S + 10)
    second = ownership.claim(store, SPEC, owner())
    assert ownership.superseded(store, zombie)
    assert not ownership.superseded(store, second)
    assert finish(store, second, accuracy=60.0)
    assert not finish(store, zombie, accuracy=10.0)
    assert store.result(SPEC.trial_id).metrics["test/accuracy"] == 60.0


def test_a_result_whose_attempt_died_before_linking_it_is_not_lost(store):
    first = ownership.claim(store, SPEC, dead_owner())
    results.write(first.folder / results.RESULT, made(SPEC, 70.0))
    assert ownership.claim(store, SPEC, owner()) is None
    assert store.result(SPEC.trial_id).metrics["test/accuracy"] == 70.0


def test_a_damaged_result_is_set_aside_and_the_trial_runs_again(store):
    finish(store, ownership.claim(store, SPEC, owner()))
    for path in store.trial_folder(SPEC.trial_id).rglob(results.RESULT):
        path.write_bytes(b"")
    status = store.state(SPEC)
    assert status.state == "failed"
    assert "damaged" in status.cause
    assert ownership.claim(store, SPEC, owner()).number == 2
    assert [p.name for p in store.trial_folder(SPEC.trial_id).glob("result.damaged-*")]


def test_publishing_removes_the_checkpoints_of_all_attempts(store):
    first = ownership.claim(store, SPEC, owner())
    ownership.fail(first, Failure(failure="lost", cause="killed"))
    second = ownership.claim(store, SPEC, owner())
    for claim in (first, second):
        (claim.folder / results.CHECKPOINT).write_bytes(b"x")
        (claim.folder / results.CHECKPOINT_PREVIOUS).write_bytes(b"x")
    finish(store, second)
    assert not list(store.trial_folder(SPEC.trial_id).rglob("checkpoint*"))


def test_the_journal_is_the_chain_of_attempts_each_cut_where_the_next_resumed(store):
    first = ownership.claim(store, SPEC, owner())
    journal.append(first.folder / results.JOURNAL, [record(e, 1, 1.0) for e in range(4)])
    ownership.fail(first, Failure(failure="stopped", cause="on request"))
    second = ownership.claim(store, SPEC, owner())
    ownership.resumed(second, liveness.ResumedFrom(attempt=1, epoch=1))
    journal.append(second.folder / results.JOURNAL, [record(2, 2, 2.0)])
    found = [(r.epoch, r.attempt) for r in store.journal(SPEC.trial_id)]
    assert found == [(0, 1), (1, 1), (2, 2)]


def test_a_line_that_died_with_its_attempt_comes_from_the_one_that_resumed(store):
    first = ownership.claim(store, SPEC, owner())
    journal.append(first.folder / results.JOURNAL, [record(0, 1)])
    ownership.fail(first, Failure(failure="lost", cause="killed"))
    second = ownership.claim(store, SPEC, owner())
    ownership.resumed(second, liveness.ResumedFrom(attempt=1, epoch=1))
    journal.append(second.folder / results.JOURNAL, [record(1, 1), record(2, 2)])
    found = [(r.epoch, r.attempt) for r in store.journal(SPEC.trial_id)]
    assert found == [(0, 1), (1, 1), (2, 2)]


def test_an_attempt_that_has_not_begun_leaves_the_journal_as_it_was(store):
    first = ownership.claim(store, SPEC, owner())
    journal.append(first.folder / results.JOURNAL, [record(0, 1)])
    ownership.fail(first, Failure(failure="lost", cause="killed"))
    ownership.claim(store, SPEC, owner())
    assert [r.epoch for r in store.journal(SPEC.trial_id)] == [0]


def test_a_heartbeat_beats_until_the_attempt_ends(store):
    claim = ownership.claim(store, SPEC, owner(**OTHER_HOST))
    beat = claim.folder / HEARTBEAT
    with liveness.Heartbeat(claim.folder, interval_s=0.02):
        age(claim, liveness.STALE_S + 10)
        for _ in range(500):
            if liveness.alive(claim.folder, store.now()):
                break
            os.sched_yield()
            liveness.threading.Event().wait(0.01)
        assert liveness.alive(claim.folder, store.now())
    age(claim, 1)
    before = beat.stat().st_mtime
    liveness.threading.Event().wait(0.1)
    assert beat.stat().st_mtime == before


def told(claim, interval_s=0.01, **beats):
    """What the claim's heartbeat says after its owner's last step, once it says it."""
    with liveness.Heartbeat(claim.folder, interval_s) as heartbeat:
        heartbeat.note(**beats)
        for _ in range(500):
            found = liveness.read_progress(claim.folder, 0.0)
            if found and found.step == beats["step"]:
                return found
            liveness.threading.Event().wait(0.01)
    return None


def test_a_heartbeat_says_at_which_step_its_owner_is(store):
    claim = ownership.claim(store, SPEC, owner())
    with liveness.Heartbeat(claim.folder, interval_s=0.01):
        liveness.threading.Event().wait(0.05)
    assert liveness.read_progress(claim.folder, 0.0) is None  # nothing was said yet
    first = told(claim, epoch=2, step=5003, steps=5004)
    assert (first.epoch, first.step, first.steps) == (2, 5003, 5004)
    assert told(claim, epoch=3, step=1, steps=5004).step == 1  # shorter text over longer
    beat = (claim.folder / HEARTBEAT).stat().st_mtime
    later = liveness.read_progress(claim.folder, beat + 100).seconds_since_step
    assert 100 <= later < 160
    (claim.folder / HEARTBEAT).write_bytes(b"nonsense")
    assert liveness.read_progress(claim.folder, beat) is None


def test_a_heartbeat_beats_on_where_nothing_can_be_written(store, monkeypatch):
    claim = ownership.claim(store, SPEC, owner(**OTHER_HOST))

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with liveness.Heartbeat(claim.folder, interval_s=0.01) as heartbeat:
        monkeypatch.setattr(Path, "open", full)
        heartbeat.note(1, 2, 3)
        age(claim, liveness.STALE_S + 10)
        for _ in range(500):
            if liveness.alive(claim.folder, store.now()):
                break
            liveness.threading.Event().wait(0.01)
        monkeypatch.undo()
    assert liveness.alive(claim.folder, store.now())


def test_a_result_that_appears_during_a_claim_is_published_and_not_trained_again(
    store, monkeypatch
):
    first = ownership.claim(store, SPEC, owner())
    looked = liveness.alive

    def finishes_now(attempt, now):
        results.write(first.folder / results.RESULT, made(SPEC))
        return looked(attempt, now)

    monkeypatch.setattr(liveness, "alive", finishes_now)
    assert ownership.claim(store, SPEC, owner()) is None
    assert store.state(SPEC).state == "finished"
    assert store.attempts(SPEC.trial_id) == [1]


def test_a_result_that_cannot_be_read_for_the_moment_is_not_set_aside(store, monkeypatch):
    finish(store, ownership.claim(store, SPEC, owner()))
    read = files.read

    def stale(path):
        if path.name == results.RESULT:
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(files, "read", stale)
        with pytest.raises(OSError, match="Stale"):
            ownership.claim(store, SPEC, owner())
    assert store.state(SPEC).state == "finished"
    assert ownership.claim(store, SPEC, owner()) is None


def test_an_attempt_whose_trial_was_discarded_does_not_take_a_new_one_for_itself(store):
    zombie = ownership.claim(store, SPEC, owner(**OTHER_HOST))
    age(zombie, liveness.STALE_S + 10)
    store.discard(SPEC.trial_id)
    new = ownership.claim(store, SPEC, owner())
    assert new.folder == zombie.folder
    assert ownership.superseded(store, zombie)
    ownership.resumed(new, liveness.ResumedFrom(attempt=1, epoch=1))
    assert not ownership.superseded(store, new)


def test_the_journal_of_a_finished_trial_is_that_of_the_attempt_which_has_the_result(store):
    """One that was taken for dead came back behind its last step and finished first."""
    zombie = ownership.claim(store, SPEC, owner(**OTHER_HOST))
    journal.append(zombie.folder / results.JOURNAL, [record(e, 1) for e in range(2)])
    age(zombie, liveness.STALE_S + 10)
    second = ownership.claim(store, SPEC, owner())
    ownership.resumed(second, liveness.ResumedFrom(attempt=1, epoch=1))
    journal.append(second.folder / results.JOURNAL, [record(2, 2)])
    journal.append(zombie.folder / results.JOURNAL, [record(2, 1), record(3, 1)])
    assert finish(store, zombie)
    assert ownership.superseded(store, second)
    assert [r.attempt for r in store.journal(SPEC.trial_id)] == [1, 1, 1, 1]


def test_no_attempt_is_taken_in_a_folder_that_was_begun_anew_since_the_look(store):
    """Two that discard and one that claims: the second discard moved what had just begun."""
    ownership.fail(
        ownership.claim(store, SPEC, owner()), Failure(failure="stopped", cause="on request")
    )
    attempts = store.trial_folder(SPEC.trial_id) / ATTEMPTS
    looked_at = attempts.parent.stat()
    store.discard(SPEC.trial_id)
    with pytest.raises(FileExistsError):
        ownership.take(attempts, 2, looked_at)  # nothing is there
    new = ownership.claim(store, SPEC, owner())
    with pytest.raises(FileExistsError):
        ownership.take(attempts, 2, looked_at)
    assert store.attempts(SPEC.trial_id) == [1]
    assert not ownership.superseded(store, new)


def test_a_trial_is_either_claimed_or_discarded(store):
    def attempt(act):
        try:
            return act()
        except (OSError, UserError):
            return None

    with ThreadPoolExecutor(3) as pool:
        for _ in range(100):
            if claim := ownership.claim(store, SPEC, owner()):
                ownership.fail(claim, Failure(failure="stopped", cause="on request"))
            begin = threading.Barrier(3)

            def at_once(act, begin=begin):
                begin.wait()
                return attempt(act)

            claimed = pool.submit(at_once, lambda: ownership.claim(store, SPEC, owner()))
            discards = [pool.submit(at_once, lambda: store.discard(SPEC.trial_id)) for _ in "ab"]
            aside = [path for d in discards if (path := d.result())]
            assert sum(any((path / "attempts").iterdir()) for path in aside) <= 1
            if claim := claimed.result():
                assert liveness.read_start(claim.folder) == claim.start
                ownership.fail(claim, Failure(failure="stopped", cause="on request"))


HIDEPID = """
import os, subprocess, sys
from orchestrator.store import liveness
done = subprocess.run(["mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"])
if done.returncode:
    sys.exit(77)
owner = liveness.this_process()
start = liveness.process_start(int(sys.argv[1]))
os.setgroups([]), os.setgid(65534), os.setuid(65534)
assert liveness.process_start(int(sys.argv[1])) == ""
theirs = owner.model_copy(update={"pid": int(sys.argv[1]), "process_start": start})
gone = owner.model_copy(update={"pid": 4_000_000, "process_start": start})
sys.exit(3 if liveness.provably_gone(theirs) or not liveness.provably_gone(gone) else 0)
"""


def test_another_users_process_that_proc_hides_is_not_provably_gone():
    """A store for a group, on a login node whose /proc shows each user his own processes."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("mounting another /proc needs root")
    command = ["unshare", "-m", sys.executable, "-c", HIDEPID, str(os.getpid())]
    done = subprocess.run(command, capture_output=True)
    if done.returncode == 77 or b"unshare failed" in done.stderr:
        pytest.skip("no mounts here")
    assert done.returncode == 0, done.stderr
