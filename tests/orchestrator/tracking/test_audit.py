"""The audit: clean after everything was sent, and a finding with its remedy for each damage."""

import json

import pytest
from made_results import made
from made_trials import a_store, claimed, failed, finished, launched, record, trained, write

from orchestrator.errors import UnreachableError, UserError
from orchestrator.store.liveness import ResumedFrom, this_process
from orchestrator.store.ownership import Claim
from orchestrator.store.store import Store
from orchestrator.tracking import audit as audit_module
from orchestrator.tracking.audit import audit
from orchestrator.tracking.forwarder import sync
from orchestrator.tracking.memory_tracker import MemoryTracker
from orchestrator.tracking.tracker import Point
from trainer import own_code, results
from trainer.spec import TrialSpec

FINISHED, FAILED, PENDING = SPECS = [TrialSpec(epochs=3, seed=seed) for seed in range(3)]
RUNNING = TrialSpec(epochs=3, seed=3)


@pytest.fixture
def store(tmp_path):
    store = a_store(tmp_path)
    launched(store, [*SPECS, RUNNING])
    trained(store, FINISHED)
    claim = claimed(store, FAILED)
    write(claim, record(0), record(1))
    failed(claim, "diverged")
    write(claimed(store, RUNNING), record(0))
    return store


@pytest.fixture
def tracker():
    return MemoryTracker()


@pytest.fixture
def run_id(store, tracker):
    """Everything was sent; the finished trial's run."""
    assert sync(store, "depth", tracker).empty
    return run_of(store, tracker, FINISHED)


def run_of(store, tracker, spec):
    (run,) = tracker.runs(tracker.open("depth"), store.identity, spec.trial_id)
    return run.run_id


def findings(store, tracker=None):
    return {c.name: c.detail for c in audit(store, "depth", tracker) if not c.ok}


def test_a_sweep_with_a_trial_in_each_state_is_clean_and_balances(store, tracker, run_id):
    checks = {check.name: check for check in audit(store, "depth", tracker)}
    assert all(check.ok for check in checks.values()), checks
    assert checks["trials"].detail == (
        "4 planned = 1 pending + 1 running + 1 finished + 1 failed + 0 stopped"
    )
    assert checks["runs"].detail == "3 runs, one for each trial"
    assert checks["metrics"].detail == "42 points, each once"
    assert checks["artifacts"].detail == "4 files"


def test_a_resumed_trial_is_clean(store, tracker):
    again = claimed(store, FAILED, ResumedFrom(attempt=1, epoch=0))
    write(again, record(1, 3.0), record(2))
    sync(store, "depth", tracker)
    assert findings(store, tracker) == {}


def test_without_a_tracker_only_the_store_is_looked_at(store):
    assert [check.name for check in audit(store, "depth", None)] == [
        "trials",
        "folders",
        "journals",
        "files",
        "checkpoints",
    ]


def test_what_was_not_sent_is_found_and_sync_mends_it(store, tracker):
    found = findings(store, tracker)
    assert set(found) == {"runs"}
    assert f"{FINISHED.trial_id}: has 0 runs instead of one (bnsweep sync depth)" in found["runs"]
    assert RUNNING.trial_id not in found["runs"]
    sync(store, "depth", tracker)
    assert findings(store, tracker) == {}


def lose_a_point(tracker, run_id):
    tracker._points[run_id].pop(next(iter(tracker._points[run_id])))


def add_a_point(tracker, run_id):
    tracker.send(run_id, [Point("train/loss", 99.0, 1_700_000_001_000, 1)])


def double_a_point(tracker, run_id):
    tracker.send(run_id, [Point("train/loss", 1.5, 1_800_000_000_000, 1)])


def change_a_tag(tracker, run_id):
    tracker.send(run_id, tags={"bnsweep.state": "failed"})


def change_the_status(tracker, run_id):
    tracker.set_status(run_id, "RUNNING", None)


def lose_a_param(tracker, run_id):
    params = dict(tracker._run(run_id).params)
    del params["lr"]
    tracker._change(run_id, params=params)


def change_a_param(tracker, run_id):
    tracker._change(run_id, params={**tracker._run(run_id).params, "lr": "7"})


def delete_the_run(tracker, run_id):
    tracker.remove(run_id)


def add_a_run(tracker, run_id):
    experiment, run = tracker._runs[run_id]
    tracker.create(experiment, run.name, run.tags, run.started_ms + 1)


def add_a_run_of_no_trial(tracker, run_id):
    experiment, run = tracker._runs[run_id]
    tracker.create(experiment, "x", {**run.tags, "bnsweep.trial_id": "x"}, 1)


def lose_a_file(tracker, run_id):
    del tracker._files[run_id]["final.pt"]


@pytest.mark.parametrize(
    ("damage", "check", "what"),
    [
        (lose_a_point, "metrics", "lacks 1 points"),
        (add_a_point, "metrics", "has 1 points that the journal has not"),
        (double_a_point, "metrics", "has 1 points that the journal has not"),
        (change_a_tag, "params, tags, status", "tag bnsweep.state"),
        (change_the_status, "params, tags, status", "status RUNNING"),
        (lose_a_param, "params, tags, status", "param lr"),
        (change_a_param, "params, tags, status", "param lr"),
        (delete_the_run, "runs", "has 0 runs"),
        (add_a_run, "runs", "has 2 runs"),
        (add_a_run_of_no_trial, "runs", "x: a run of no trial"),
        (lose_a_file, "artifacts", "lacks final.pt"),
    ],
)
def test_each_damage_to_the_tracker_is_found_and_sync_mends_it(
    store, tracker, run_id, damage, check, what
):
    damage(tracker, run_id)
    found = findings(store, tracker)
    assert set(found) == {check}
    assert what in found[check]
    assert "bnsweep sync depth" in found[check]
    assert sync(store, "depth", tracker).empty
    assert findings(store, tracker) == {}


def damage_the_result(store):
    (store.trial_folder(FINISHED.trial_id) / results.RESULT).write_bytes(b"")


def exchange_the_results(store):
    path = store.trial_folder(FINISHED.trial_id) / results.RESULT
    path.write_text(path.read_text().replace('"seed":0', '"seed":7'))


def damage_the_history(store):
    path = store.trial_folder(FINISHED.trial_id) / results.RESULT
    path.write_bytes(path.read_bytes().replace(b'{"seq"', b'{"\xff\xff\xff"'))


def edit_the_accuracy(store):
    path = store.trial_folder(FINISHED.trial_id) / results.RESULT
    path.write_text(path.read_text().replace('"test/accuracy":3.5', '"test/accuracy":99.5', 1))
    assert "99.5" in path.read_text()


def edit_by_a_program(store):
    """All alike, and in a layout of its own."""
    path = store.trial_folder(FINISHED.trial_id) / results.RESULT
    path.write_text(json.dumps(json.loads(path.read_text().replace(":3.5", ":99.5")), indent=1))


def flip_a_bit_of_a_key(store):
    path = store.trial_folder(FINISHED.trial_id) / results.RESULT
    head, _, rest = path.read_bytes().rpartition(b"images_per_second")
    path.write_bytes(head + b"images_per_recond" + rest)


def put_another_trials_result(store):
    other = store.trial_folder(FINISHED.trial_id) / results.RESULT
    results.write(other, made(FAILED))


def put_a_folder_for_the_result(store):
    path = store.trial_folder(FINISHED.trial_id) / results.RESULT
    path.unlink()
    path.mkdir()


def edit_an_artifact(store):
    attempt = store.attempt_folder(FINISHED.trial_id, 1)
    (attempt / results.ARTIFACTS / results.FREEZE_PROOF).write_text('{"ok": true }')


def damage_the_spec(store):
    (store.trial_folder(FINISHED.trial_id) / results.SPEC).write_bytes(b"{")


def exchange_the_spec(store):
    path = store.trial_folder(FINISHED.trial_id) / results.SPEC
    path.write_text(FAILED.model_dump_json())


def leave_a_folder(store):
    store.trial_folder("nobodys").mkdir()


def truncate_the_journal(store):
    path = store.attempt_folder(FINISHED.trial_id, 1) / results.JOURNAL
    path.write_bytes(path.read_bytes()[:-10])


def leave_a_checkpoint(store):
    (store.attempt_folder(FINISHED.trial_id, 1) / results.CHECKPOINT).write_bytes(b"x")


@pytest.mark.parametrize(
    ("damage", "check", "what"),
    [
        (damage_the_result, "trials", "(bnsweep resume depth)"),
        (damage_the_history, "trials", "(bnsweep resume depth)"),
        (exchange_the_results, "trials", "(bnsweep resume depth)"),
        (edit_the_accuracy, "trials", "(bnsweep resume depth)"),
        (edit_by_a_program, "trials", "(bnsweep resume depth)"),
        (flip_a_bit_of_a_key, "trials", "(bnsweep resume depth)"),
        (put_another_trials_result, "trials", "(bnsweep resume depth)"),
        (put_a_folder_for_the_result, "trials", "(bnsweep resume depth)"),
        (edit_an_artifact, "files", "missing or changed in artifacts: freeze_proof.json"),
        (damage_the_spec, "folders", "spec.json is damaged (bnsweep audit --mend)"),
        (exchange_the_spec, "folders", "(bnsweep audit --mend)"),
        (leave_a_folder, "folders", "nobodys: no launch names this trial (bnsweep gc)"),
        (truncate_the_journal, "journals", "not its result's history (bnsweep audit --mend)"),
        (leave_a_checkpoint, "checkpoints", "checkpoint.pt"),
    ],
)
def test_each_damage_to_the_store_is_found_with_its_remedy(store, damage, check, what):
    assert findings(store) == {}
    damage(store)
    found = findings(store)
    assert set(found) == {check}
    assert what in found[check]
    # The state, and whoever reads the whole result, see what the audit sees.
    whole = check != "trials"
    assert (store.state(FINISHED).state == "finished") == whole
    assert (store.result(FINISHED.trial_id) is not None) == whole


def test_many_findings_are_counted_after_the_first_twenty(store):
    for number in range(30):
        store.trial_folder(f"nobodys-{number}").mkdir()
    (detail,) = findings(store).values()
    assert detail.endswith("and 10 more")


def test_a_sweep_that_was_never_launched_is_the_users_mistake(store):
    with pytest.raises(UserError, match=r"sweep width: not in .*; did you mean depth\?"):
        audit(store, "width", None)


def test_a_tracker_that_is_not_reached_is_no_finding(store, tracker):
    tracker.down = True
    with pytest.raises(UnreachableError):
        audit(store, "depth", tracker)


def test_a_trial_that_finishes_during_the_audit_is_no_finding(store, monkeypatch):
    read = Store.journal

    def then_it_finishes(reading, trial_id):
        records = read(reading, trial_id)
        if trial_id == RUNNING.trial_id:
            monkeypatch.setattr(Store, "journal", read)
            claim = Claim(trial_id, 1, store.attempt_folder(trial_id, 1), this_process())
            write(claim, record(1), record(2), record(3))
            finished(store, claim, RUNNING)
        return records

    monkeypatch.setattr(Store, "journal", then_it_finishes)
    check = audit_module._journals(store, [RUNNING])
    assert check.ok, check
    assert store.state(RUNNING).state == "finished"


def test_a_launch_that_cannot_be_read_is_found_and_none_of_its_trials_is_for_gc(store):
    (store.sweep_folder("depth") / "launches" / "1.json").write_bytes(b"{")
    launched(store, [FINISHED])
    assert findings(store) == {
        "folders": "sweeps/depth/launches/1.json: cannot be read; what it names is kept "
        "(launch its sweep file, then remove this)"
    }


def test_kept_code_that_is_gone_or_was_edited_is_found(tmp_path):
    store, module = a_store(tmp_path), tmp_path / "mine.py"
    module.write_text("first")
    sha256 = own_code.digest(module)
    launched(store, [TrialSpec(code_sha256=sha256)])
    assert "has no code with sha256" in findings(store)["code"]
    store.keep_code(sha256, module)
    assert findings(store) == {}
    store.code(sha256).write_text("edited")
    assert "is not the code with sha256" in findings(store)["code"]
