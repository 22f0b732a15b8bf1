"""What the store reads: states, launches, stops, and files that were damaged."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_results import made

from orchestrator.errors import UnreachableError, UserError
from orchestrator.store import liveness, ownership
from orchestrator.store.failures import Failure
from orchestrator.store.folder import ERROR, HEARTBEAT, START
from orchestrator.store.records import STATES, Launch, Stop
from orchestrator.store.store import Store
from trainer import journal, results
from trainer.journal import Record
from trainer.spec import TrialSpec

SPEC = TrialSpec(epochs=3)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.open_for_writing()
    return store


def a_launch(name="depth", **fields):
    return Launch(sweep={"name": name, **fields}, number=0, time_ms=1, host="here")


def claimed(store, spec=SPEC):
    return ownership.claim(store, spec, liveness.this_process("depth", 1))


def line(epoch, accuracy):
    return Record(
        seq=epoch,
        time_ms=epoch,
        step=epoch,
        epoch=epoch,
        attempt=1,
        metrics={"test/accuracy": accuracy},
    )


def test_a_trial_without_a_folder_is_pending(store):
    status = store.state(SPEC)
    assert (status.state, status.epochs, status.epoch) == ("pending", 3, None)


def test_a_claimed_trial_is_running_and_says_who_has_it(store):
    claim = claimed(store)
    journal.append(claim.folder / results.JOURNAL, [line(0, 10.0), line(1, 20.0)])
    status = store.state(SPEC)
    assert (status.state, status.epoch, status.test_accuracy) == ("running", 1, 20.0)
    assert str(os.getpid()) in status.owner


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        ("user", "failed"),
        ("diverged", "failed"),
        ("oom", "failed"),
        ("io", "failed"),
        ("code", "failed"),
        ("stopped", "stopped"),
    ],
)
def test_a_trial_that_ended_without_a_result_has_its_cause(store, failure, state):
    ownership.fail(claimed(store), Failure(failure=failure, cause="the cause"))
    assert (store.state(SPEC).state, store.state(SPEC).cause) == (state, "the cause")


def test_a_trial_whose_process_died_without_a_word_is_stopped_and_says_so(store):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gone = liveness.this_process().model_copy(
        update={"pid": child.pid, "process_start": liveness.process_start(child.pid)}
    )
    child.communicate(b"\n")
    ownership.claim(store, SPEC, gone)
    status = store.state(SPEC)
    assert status.state == "stopped"
    assert "died" in status.cause
    assert store.failure(SPEC.trial_id).failure == "lost"


def finished(store, spec=SPEC, **changes):
    claim = claimed(store, spec)
    results.write(claim.folder / results.RESULT, made(spec, 61.5, **changes))
    ownership.publish(store, claim)
    return store.trial_folder(spec.trial_id) / results.RESULT


def test_a_finished_trial_is_read_from_its_result(store):
    finished(store, packed=4)
    status = store.state(SPEC)
    assert (status.state, status.test_accuracy, status.epoch) == ("finished", 61.5, 3)
    assert (status.attempt, status.packed, status.updated_ms) == (1, 4, 1000)
    assert store.result(SPEC.trial_id) == made(SPEC, 61.5, packed=4)


def test_a_status_has_the_validation_accuracy_of_a_trial_that_keeps_images_for_it(store):
    claim = claimed(store)
    assert store.state(SPEC).validation_accuracy is None
    record = line(0, 10.0)
    measured = {**record.metrics, "validation/accuracy": 12.5}
    said = record.model_copy(update={"metrics": measured})
    journal.append(claim.folder / results.JOURNAL, [said])
    status = store.state(SPEC)
    assert (status.validation_accuracy, status.test_accuracy) == (12.5, 10.0)
    result = made(SPEC, 61.5, metrics={"validation/accuracy": 60.5})
    results.write(claim.folder / results.RESULT, result)
    ownership.publish(store, claim)
    assert store.state(SPEC).validation_accuracy == 60.5


def test_a_result_is_finished_however_long_its_history_and_its_metrics_are(store):
    spec = TrialSpec(epochs=2000)
    path = finished(store, spec, metrics={f"probe/{n}": float(n) for n in range(2000)})
    assert path.stat().st_size > 10 * 16_384
    status = store.state(spec)
    assert (status.state, status.test_accuracy, status.seconds) == ("finished", 61.5, 1.0)


def damaged(content):
    """The content cut off at many places, and with each block of it lost to zeros."""
    yield b""
    yield from (content[:end] for end in range(1, len(content) - 1, 97))
    yield content[:-2]
    for begin in range(0, len(content), 512):
        yield content[:begin] + bytes(len(content[begin : begin + 512])) + content[begin + 512 :]


def test_a_damaged_result_is_the_same_for_the_state_of_a_trial_and_for_whoever_reads_all(store):
    path = finished(store)
    for content in damaged(path.read_bytes()):
        path.write_bytes(content)
        assert store.result(SPEC.trial_id) is None
        status = store.state(SPEC)
        assert (status.state, "is damaged" in status.cause) == ("failed", True), content


@pytest.mark.parametrize("rewrite", [bytes.rstrip, lambda c: json.dumps(json.loads(c)).encode()])
def test_a_result_of_before_it_had_a_checksum_is_whole_however_it_is_written(store, rewrite):
    path = finished(store)
    path.write_bytes(rewrite(made(SPEC, 61.5).model_dump_json().encode() + b"\n"))
    assert store.result(SPEC.trial_id) == made(SPEC, 61.5)
    assert store.state(SPEC).state == "finished"


def test_launches_are_numbered_and_the_newest_is_complete(store):
    trials = (SPEC.identity_fields(), SPEC.changed(seed=1).identity_fields())
    first = store.record_launch(a_launch())
    second = store.record_launch(a_launch(trials=trials, overrides=("epochs=3",)))
    assert (first.number, second.number) == (1, 2)
    assert store.newest_launch("depth") == second
    assert second.specs == (SPEC, SPEC.changed(seed=1))
    assert store.sweeps() == ["depth"]


def test_a_damaged_launch_file_gives_way_to_the_one_before(store):
    first = store.record_launch(a_launch())
    store.record_launch(a_launch())
    (store.sweep_folder("depth") / "launches" / "2.json").write_text("{")
    assert store.newest_launch("depth") == first


def test_a_stop_is_for_its_launch_and_those_before_it(store):
    store.record_launch(a_launch())
    store.request_stop("depth", Stop(launch=2, mode="now"))
    assert store.stop_for("depth", 1) is not None
    assert store.stop_for("depth", 2) is not None
    assert store.stop_for("depth", 3) is None


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", ".", "..", "a/../b", ".hidden", "a b", "x" * 300]
)
def test_no_name_leads_out_of_the_store(store, name):
    with pytest.raises(UserError, match="not a name"):
        store.trial_folder(name)
    with pytest.raises(UserError, match="not a name"):
        store.sweep_folder(name)


def test_a_discarded_trial_is_set_aside_and_pending_again(store):
    claim = claimed(store)
    results.write(claim.folder / results.RESULT, made(SPEC))
    ownership.publish(store, claim)
    aside = store.discard(SPEC.trial_id)
    assert store.state(SPEC).state == "pending"
    assert (aside / results.RESULT).exists()


def test_a_running_trial_cannot_be_discarded(store):
    claimed(store)
    with pytest.raises(UserError, match="is running"):
        store.discard(SPEC.trial_id)


def test_a_store_of_a_newer_version_is_refused(store):
    (store.root / "store.json").write_text(json.dumps({"version": 99}))
    with pytest.raises(UserError, match="newer bnsweep"):
        store.open_for_writing()


def test_a_store_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UnreachableError, match="--store"):
        Store(tmp_path / "file").open_for_writing()


def test_removing_stays_inside_the_store(store, tmp_path):
    with pytest.raises(ValueError, match="not in the store"):
        store.remove(tmp_path)


FILES = st.sampled_from([START, results.JOURNAL, ERROR, results.RESULT, HEARTBEAT])


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(FILES, st.binary(max_size=200)), st.none() | st.binary(max_size=200))
def test_no_damage_to_a_trials_files_gives_a_traceback_or_a_wrong_finish(tmp_path, files, result):
    store = Store(tmp_path / "fuzz")
    folder = store.attempt_folder(SPEC.trial_id, 1)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (START, results.JOURNAL, ERROR, results.RESULT):
        (folder / name).unlink(missing_ok=True)
        if name in files:
            (folder / name).write_bytes(files[name])
    target = store.trial_folder(SPEC.trial_id) / results.RESULT
    target.unlink(missing_ok=True)
    if result is not None:
        target.write_bytes(result)
    status = store.state(SPEC)
    assert status.state in STATES
    assert status.state != "finished"
    assert store.result(SPEC.trial_id) is None
    store.failure(SPEC.trial_id)
    assert store.journal(SPEC.trial_id) == []


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 400), st.binary(max_size=20))
def test_a_journal_cut_anywhere_keeps_its_whole_lines(tmp_path, cut, tail):
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    records = [line(epoch, float(epoch)) for epoch in range(4)]
    journal.append(path, records)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut] + tail.replace(b"\n", b""))
    found = journal.read(path)
    kept = whole[: min(cut, len(whole))].count(b"\n")
    assert found == records[: len(found)]
    assert len(found) in (kept, kept + 1)


def test_a_link_whose_answer_was_lost_counts_as_made(store, monkeypatch):
    """NFS repeats a call without an answer, and is told that the name exists."""
    link = os.link

    def answer_lost(source, target):
        link(source, target)
        raise FileExistsError

    monkeypatch.setattr(os, "link", answer_lost)
    assert store.record_launch(a_launch()).number == 1
    assert store.launch_numbers("depth") == [1]


def test_a_clock_of_this_host_that_is_set_kills_no_attempt(store, monkeypatch):
    claim = ownership.claim(
        store, SPEC, liveness.this_process().model_copy(update={"boot_id": "x"})
    )
    (claim.folder / HEARTBEAT).touch()
    assert store.state(SPEC).state == "running"
    set_back = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: set_back)
    assert store.state(SPEC).state == "running"


def test_a_stop_of_a_launch_whose_file_is_gone_does_not_reach_the_next(store):
    store.record_launch(a_launch())
    store.request_stop("depth", Stop(launch=1, mode="now"))
    (store.sweep_folder("depth") / "launches" / "1.json").unlink()
    assert store.stop_for("depth", store.record_launch(a_launch()).number) is None


def test_requests_to_stop_add_up_and_none_lifts_another(store):
    store.record_launch(a_launch())

    def mode(launch, trial_id=""):
        stop = store.stop_for("depth", launch, trial_id)
        return stop and stop.mode

    store.request_stop("depth", Stop(launch=2, mode="graceful"))
    store.request_stop("depth", Stop(launch=1, mode="now"))  # Ctrl-C at an older launch
    assert (mode(1), mode(2), mode(3)) == ("now", "graceful", None)
    store.request_stop("depth", Stop(launch=2, mode="now", trials=("a",)))
    store.request_stop("depth", Stop(launch=3, mode="graceful", trials=("a", "b")))
    store.request_stop("depth", Stop(launch=3, mode="now", trials=("c",)))
    assert (mode(2), mode(2, "a"), mode(2, "d")) == ("graceful", "now", "graceful")
    assert [mode(3, trial) for trial in ("a", "b", "c", "d")] == [
        "graceful",
        "graceful",
        "now",
        None,
    ]


def test_a_request_that_covers_the_others_stands_alone(store):
    store.record_launch(a_launch())
    store.request_stop("depth", Stop(launch=1, mode="graceful", trials=("a",)))
    store.request_stop("depth", Stop(launch=1, mode="now", trials=("a", "b")))
    assert len(store.stops_for("depth", 0)) == 1
    store.request_stop("depth", Stop(launch=2, mode="graceful"))
    assert len(store.stops_for("depth", 0)) == 2
    store.request_stop("depth", Stop(launch=2, mode="now"))
    assert store.stops_for("depth", 0) == [Stop(launch=2, mode="now")]


def test_of_two_stops_in_one_instant_none_is_lost(store):
    store.sweep_folder("depth").mkdir(parents=True, exist_ok=True)
    together = threading.Barrier(8)

    def ask(trial):
        together.wait()
        store.request_stop("depth", Stop(launch=1, mode="now", trials=(trial,)))

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {s.trials for s in store.stops_for("depth", 0)} == {(name,) for name in "abcdefgh"}


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / "runs").symlink_to(tmp_path / "unmounted")
    for look in (Store.open_for_writing, Store.check_version):
        with pytest.raises(UnreachableError, match="unmounted, which is not there"):
            look(Store(tmp_path / "runs"))
