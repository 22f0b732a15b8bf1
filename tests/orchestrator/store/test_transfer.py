"""Results between two stores through a folder: a union, never a replacement, whatever is killed."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from made_trials import (
    a_store,
    claimed,
    failed,
    finished,
    launched,
    record,
    trained,
    write,
)

from orchestrator.errors import UserError
from orchestrator.store import gc, liveness, ownership, transfer
from orchestrator.store.remote import open_remote
from orchestrator.store.store import Store
from orchestrator.tracking.audit import audit
from trainer import own_code, results
from trainer.spec import TrialSpec

SPECS = tuple(TrialSpec(epochs=3, seed=seed) for seed in range(4))
ONE, TWO, THREE, FOUR = SPECS
IDS = sorted(spec.trial_id for spec in SPECS)


@pytest.fixture
def here(tmp_path):
    """A store whose sweep `depth` has finished two of its four trials."""
    store = a_store(tmp_path / "here")
    launched(store, SPECS)
    trained(store, ONE)
    trained(store, TWO)
    return store


@pytest.fixture
def there(tmp_path):
    return a_store(tmp_path / "there")


@pytest.fixture
def shared(tmp_path):
    return open_remote(str(tmp_path / "shared"))


def outcomes(steps):
    return {step.trial_id: step.outcome for step in steps}


def moved(*specs):
    return {spec.trial_id: "moved" for spec in specs}


def folder_of(store, spec):
    """What a trial's finished attempt has, but for who brought it and when."""
    attempt = store.attempt_folder(spec.trial_id, store.state(spec).attempt)
    files = {p.relative_to(attempt).as_posix(): p for p in attempt.rglob("*") if p.is_file()}
    return {n: p.read_bytes() for n, p in files.items() if n not in ("pulled.json", "heartbeat")}


def test_finished_trials_travel_and_are_finished_where_they_arrive(here, there, shared):
    assert outcomes(transfer.push(here, shared)) == moved(ONE, TWO)
    assert outcomes(transfer.pull(there, shared)) == moved(ONE, TWO)
    for spec in (ONE, TWO):
        assert there.state(spec).state == "finished"
        assert folder_of(there, spec) == folder_of(here, spec)
        assert there.pulled(spec.trial_id)
    assert there.state(THREE).state == "pending"


def test_a_second_time_nothing_moves(here, there, shared):
    for _ in range(2):
        list(transfer.push(here, shared))
        list(transfer.pull(there, shared))
    assert set(outcomes(transfer.push(here, shared)).values()) == {"there"}
    assert set(outcomes(transfer.pull(there, shared)).values()) == {"there"}
    assert set(outcomes(transfer.push(there, shared)).values()) == {"there"}


def test_two_stores_end_with_the_union(here, there, shared):
    launched(there, SPECS)
    trained(there, THREE)
    for store in (here, there):
        list(transfer.push(store, shared))
    for store in (here, there):
        list(transfer.pull(store, shared))
        states = [store.state(spec).state for spec in SPECS]
        assert states == ["finished", "finished", "finished", "pending"]


def test_after_a_pull_the_audit_balances_and_a_launch_has_two_trials_left(here, there, shared):
    list(transfer.push(here, shared))
    list(transfer.pull(there, shared))
    launched(there, SPECS)
    checks = {check.name: check for check in audit(there, "depth", None)}
    assert all(check.ok for check in checks.values()), checks
    assert "2 pending + 0 running + 2 finished + 0 failed + 0 stopped" in checks["trials"].detail
    assert checks["folders"].detail.endswith("2 of them pulled")
    assert ownership.claim(there, ONE, liveness.this_process()) is None
    assert ownership.claim(there, THREE, liveness.this_process()) is not None


def test_what_was_pulled_before_its_launch_is_neither_a_finding_nor_garbage(here, there, shared):
    list(transfer.push(here, shared))
    launched(there, [FOUR])
    list(transfer.pull(there, shared))
    assert all(check.ok for check in audit(there, "depth", None))
    assert gc.find(there) == []


def test_unequal_results_are_refused_on_both_ways_and_nothing_is_changed(here, there, shared):
    list(transfer.push(here, shared))
    claim = claimed(there, ONE)
    write(claim, *(record(epoch, value=7.0) for epoch in range(4)))
    finished(there, claim, ONE)
    before = folder_of(there, ONE)
    for steps in (transfer.pull(there, shared), transfer.push(there, shared)):
        step = next(step for step in steps if step.trial_id == ONE.trial_id)
        assert step.outcome == "refused"
        assert step.why == "both sides have finished it, with different numbers"
    assert folder_of(there, ONE) == before
    assert set(outcomes(transfer.push(here, shared)).values()) == {"there"}


def test_equal_numbers_trained_twice_are_one_result(here, there, shared):
    list(transfer.push(here, shared))
    trained(there, ONE)
    assert outcomes(transfer.pull(there, shared))[ONE.trial_id] == "there"


def test_a_sweep_travels_alone_and_its_name_is_known_there(here, there, shared):
    other = TrialSpec(epochs=3, seed=9)
    launched(here, [other], name="other")
    trained(here, other)
    list(transfer.push(here, shared))
    assert outcomes(transfer.pull(there, shared, "other")) == moved(other)
    with pytest.raises(UserError, match=r"sweep depht: not in .*shared; there: depth, other"):
        list(transfer.pull(there, shared, "depht"))
    with pytest.raises(UserError, match=r"sweep depht: not in .*did you mean depth"):
        list(transfer.push(here, shared, "depht"))


def test_a_trial_that_trains_here_is_left_alone(here, there, shared):
    list(transfer.push(here, shared))
    claimed(there, ONE)
    assert outcomes(transfer.pull(there, shared))[ONE.trial_id] == "busy"
    assert there.state(ONE).state == "running"


def test_a_pulled_trial_ends_what_was_begun_here(here, there, shared):
    """Its attempt comes after those that failed here, under a number of its own."""
    claim = claimed(there, ONE)
    write(claim, record(0, value=3.0))
    (claim.folder / results.CHECKPOINT).write_bytes(b"x")
    failed(claim)
    list(transfer.push(here, shared))
    list(transfer.pull(there, shared))
    assert there.state(ONE).attempt == 2
    assert there.journal(ONE.trial_id) == here.journal(ONE.trial_id)
    assert not list(there.trials_folder.rglob("checkpoint*"))
    launched(there, SPECS)
    assert all(check.ok for check in audit(there, "depth", None))
    list(transfer.push(there, open_remote(str(there.root.parent / "further"))))
    assert outcomes(transfer.push(there, shared))[ONE.trial_id] == "there"


def test_of_two_pulls_at_once_each_trial_arrives_once(here, there, shared):
    list(transfer.push(here, shared))
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(transfer.pull(Store(there.root), shared)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(step.outcome == "moved" for step in found) == 2
    assert not [step for step in found if step.outcome == "refused"]
    assert [there.attempts(spec.trial_id) for spec in (ONE, TWO)] == [[1], [1]]


def test_a_damaged_archive_is_refused_and_the_others_arrive(here, there, shared, tmp_path):
    list(transfer.push(here, shared))
    path = tmp_path / "shared" / "trials" / f"{ONE.trial_id}.tar"
    path.write_bytes(path.read_bytes().replace(b"tensors", b"tensorz"))
    steps = {step.trial_id: step for step in transfer.pull(there, shared)}
    assert steps[ONE.trial_id].why == "is damaged: its contents are not as listed"
    assert steps[TWO.trial_id].outcome == "moved"
    assert there.state(ONE).state == "pending"


def test_where_the_disk_is_full_nothing_half_written_stays(here, there, shared, monkeypatch):
    list(transfer.push(here, shared))
    write_file = transfer.files.write_atomically

    def full(path, data):
        if path.name == results.RESULT:
            raise OSError(28, "No space left on device")
        write_file(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(transfer.files, "write_atomically", full)
        with pytest.raises(OSError, match="No space"):
            list(transfer.pull(there, shared))
    assert there.attempts(IDS[0]) == []
    assert outcomes(transfer.pull(there, shared)) == moved(ONE, TWO)


def test_initial_weights_are_one_copy_for_all_that_begin_with_them(here, there, shared):
    digest = "a" * 64
    shared_copy = here.initial_weights_folder / f"{digest}.pt"
    here.initial_weights_folder.mkdir()
    shared_copy.write_bytes(b"weights")
    for spec in (THREE, FOUR):
        claim = claimed(here, spec)
        os.link(shared_copy, claim.folder / results.INITIAL)
        write(claim, *(record(epoch) for epoch in range(4)))
        finished(here, claim, spec)
        result = here.result(spec.trial_id)  # made() leaves the digest empty
        path = here.trial_folder(spec.trial_id) / results.RESULT
        digests = {**result.digests, "initial": digest}
        results.write(path, result.model_copy(update={"digests": digests}))
    list(transfer.push(here, shared))
    list(transfer.pull(there, shared))
    copy = there.initial_weights_folder / f"{digest}.pt"
    assert copy.read_bytes() == b"weights"
    assert copy.stat().st_nlink == 3
    assert [item.path for item in gc.find(there)] == []


@pytest.mark.parametrize("package", [False, True])
def test_the_users_own_code_travels_with_its_trials(there, shared, tmp_path, package):
    here = a_store(tmp_path / "here")
    source = tmp_path / ("mine" if package else "mine.py")
    if package:
        (source / "sub").mkdir(parents=True)
        (source / "__init__.py").write_text("")
        (source / "sub" / "part.py").write_text("x = 1\n")
    else:
        source.write_text("x = 1\n")
    sha256 = own_code.digest(source)
    here.keep_code(sha256, source)
    spec = TrialSpec(epochs=3, code_sha256=sha256)
    trained(here, spec)
    list(transfer.push(here, shared))
    assert outcomes(transfer.pull(there, shared)) == moved(spec)
    there.check_code(sha256)


KILLED = """
import os, signal, sys, time
from pathlib import Path
from orchestrator.store import transfer
from orchestrator.store.remote import open_remote
from orchestrator.store.store import Store

write, name = transfer.files.write_atomically, sys.argv[3]

def slow(path, data):
    if path.name == name:
        print("there", flush=True)
        time.sleep(60)
    write(path, data)

transfer.files.write_atomically = slow
list(transfer.pull(Store(Path(sys.argv[1])), open_remote(sys.argv[2])))
"""


@pytest.mark.parametrize("name", ["final.pt", results.JOURNAL, results.RESULT])
def test_a_pull_that_is_killed_leaves_no_result_and_the_next_one_goes_on(
    here, there, shared, tmp_path, name
):
    list(transfer.push(here, shared))
    command = [sys.executable, "-c", KILLED, str(there.root), str(tmp_path / "shared"), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as killed:
        assert killed.stdout.readline() == b"there\n"
        killed.send_signal(signal.SIGKILL)
    first = Store(there.root)
    assert {first.state(spec).state for spec in (ONE, TWO)} == {"stopped", "pending"}
    assert outcomes(transfer.pull(first, shared)) == moved(ONE, TWO)
    launched(there, SPECS)
    assert all(check.ok for check in audit(there, "depth", None))


def test_a_name_that_is_no_trials_is_passed_over(here, there, shared, tmp_path):
    list(transfer.push(here, shared))
    (tmp_path / "shared" / "trials" / "..tar").write_bytes(b"x")
    (tmp_path / "shared" / "trials" / "README").write_bytes(b"x")
    assert outcomes(transfer.pull(there, shared)) == moved(ONE, TWO)
