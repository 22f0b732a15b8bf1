"""What gc finds, and above all what it leaves alone."""

import os

import pytest
from made_results import made

from orchestrator.store import gc, liveness, ownership
from orchestrator.store.failures import Failure
from orchestrator.store.records import Launch
from orchestrator.store.store import Store
from trainer import results
from trainer.spec import TrialSpec

SPEC = TrialSpec(epochs=3)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.open_for_writing()
    fields = (SPEC.identity_fields(),)
    store.record_launch(
        Launch(sweep={"name": "depth", "trials": fields}, number=0, time_ms=1, host="here")
    )
    return store


def attempt(store, spec=SPEC, *, ends="code"):
    claim = ownership.claim(store, spec, liveness.this_process("depth", 1))
    (claim.folder / results.CHECKPOINT).write_bytes(b"x" * 100)
    if ends == "finished":
        results.write(claim.folder / results.RESULT, made(spec))
        ownership.publish(store, claim)
    elif ends:
        ownership.fail(claim, Failure(failure=ends, cause="why"))
    return claim


def found(store):
    return {str(g.path.relative_to(store.root)): g.reason for g in gc.find(store)}


def test_a_store_in_order_has_no_garbage(store):
    attempt(store, ends="finished")
    assert found(store) == {}


def test_an_unfinished_trial_keeps_the_checkpoints_of_its_two_newest_attempts(store):
    for _ in range(4):
        attempt(store)
    kept = f"trials/{SPEC.trial_id}/attempts"
    assert set(found(store)) == {f"{kept}/1/checkpoint.pt", f"{kept}/2/checkpoint.pt"}


def test_a_finished_trial_needs_no_checkpoint(store):
    claim = attempt(store, ends="finished")
    (claim.folder / results.CHECKPOINT).write_bytes(b"left behind")
    assert list(found(store).values()) == ["a checkpoint that nothing continues from"]


def test_a_finished_trial_of_an_old_launch_is_needed(store):
    attempt(store, ends="finished")
    store.record_launch(Launch(sweep={"name": "depth"}, number=0, time_ms=2, host="here"))
    assert found(store) == {}


def test_a_trial_that_no_launch_names_can_go_but_not_while_it_runs(store):
    other = SPEC.changed(seed=7)
    claim = attempt(store, other, ends="")
    assert found(store) == {}
    ownership.fail(claim, Failure(failure="stopped", cause="on request"))
    assert found(store) == {f"trials/{other.trial_id}": "a trial that no launch names"}


def test_temporary_files_go_only_when_they_are_old(store):
    claim = attempt(store)
    old, new = claim.folder / ".result.json.x1", claim.folder / ".result.json.x2"
    for path in (old, new):
        path.write_bytes(b"half")
    past = store.now() - gc.TEMPORARY_S - 60
    os.utime(old, (past, past))
    assert list(found(store).values()) == ["a temporary file of a process that died"]


def test_initial_weights_go_once_no_attempt_links_to_them(store):
    claim = attempt(store)
    folder = store.initial_weights_folder
    folder.mkdir()
    used, unused, young = (folder / f"{name}.pt" for name in ("a1", "b2", "c3"))
    for path in (used, unused, young):
        path.write_bytes(b"weights")
    os.link(used, claim.folder / "initial.pt")
    past = store.now() - gc.TEMPORARY_S - 60
    for path in (used, unused):
        os.utime(path, (past, past))
    assert found(store) == {"initial/b2.pt": "initial weights that no trial began with"}
    store.discard(SPEC.trial_id)
    gc.remove(store, gc.find(store))
    assert list(found(store)) == ["initial/a1.pt"]


def test_removing_frees_what_was_found_and_nothing_else(store):
    attempt(store, ends="finished")
    store.discard(SPEC.trial_id)
    garbage = gc.find(store)
    assert gc.remove(store, garbage) == sum(g.bytes for g in garbage) > 0
    assert found(store) == {}
    assert store.newest_launch("depth").specs == (SPEC,)


def test_the_only_checkpoint_stays_however_many_attempts_died_before_their_first(store):
    attempt(store, ends="stopped")
    for _ in range(3):
        claim = ownership.claim(store, SPEC, liveness.this_process("depth", 1))
        ownership.fail(claim, Failure(failure="stopped", cause="on request"))
    assert found(store) == {}


def test_while_a_launch_cannot_be_read_no_trial_is_unnamed(store):
    attempt(store, ends="finished")
    (store.sweep_folder("depth") / "launches" / "1.json").write_bytes(b"{")
    assert found(store) == {}


def test_a_trial_that_is_launched_and_finished_while_gc_looks_is_needed(store, monkeypatch):
    other, listed = SPEC.changed(seed=7), Store.trial_ids

    def meanwhile(looking):
        monkeypatch.setattr(Store, "trial_ids", listed)
        launch_of(store, other)
        attempt(store, other, ends="finished")
        return listed(looking)

    monkeypatch.setattr(Store, "trial_ids", meanwhile)
    assert found(store) == {}


def launch_of(store, spec):
    fields = (spec.identity_fields(),)
    store.record_launch(
        Launch(sweep={"name": "other", "trials": fields}, number=0, time_ms=1, host="here")
    )


def test_a_trial_that_is_launched_or_begun_after_gc_looked_stays(store):
    named, begun, neither = (SPEC.changed(seed=seed) for seed in (7, 8, 9))
    for spec in (named, begun, neither):
        attempt(store, spec)
    garbage = sorted(gc.find(store), key=lambda item: "-s9-" in item.path.name)
    assert len(garbage) == 3
    launch_of(store, named)
    attempt(store, begun, ends="")
    assert gc.remove(store, garbage) == garbage[-1].bytes
    assert set(store.trial_ids()) == {named.trial_id, begun.trial_id}
    assert found(store) == {}


def test_the_scratch_of_a_launch_is_left_alone_while_trials_run(store):
    claim = attempt(store, ends="")
    scratch = store.root / ".ray-scratch-x"
    scratch.mkdir()
    past = store.now() - gc.TEMPORARY_S - 60
    os.utime(scratch, (past, past))
    assert found(store) == {}
    ownership.fail(claim, Failure(failure="stopped", cause="on request"))
    assert found(store) == {".ray-scratch-x": "scratch of a launch that was killed"}


def test_code_that_no_launch_and_no_trial_names_can_go(store):
    launched, trained, idle = ("a" * 64, "b" * 64, "c" * 64)
    store.code_folder.mkdir()
    for sha256 in (launched, trained, idle):
        (store.code_folder / f"{sha256}.py").write_text("code")
    fields = SPEC.changed(code_sha256=launched).identity_fields()
    record = Launch(sweep={"name": "own", "trials": (fields,)}, number=0, time_ms=1, host="here")
    store.record_launch(record)
    attempt(store, SPEC.changed(code_sha256=trained))
    assert not any("code" in path for path in found(store))  # all are young
    for path in store.code_folder.iterdir():
        os.utime(path, (1, 1))
    reasons = {path: why for path, why in found(store).items() if path.startswith("code/")}
    assert reasons == {f"code/{idle}.py": "code that no launch and no trial names"}
    next(store.root.glob("sweeps/own/launches/*.json")).write_text("damaged")
    assert not [path for path in found(store) if path.startswith("code/")]


def test_what_was_said_of_own_code_can_go_once_it_is_old(store):
    folder = store.root / "cache" / "describe"
    folder.mkdir(parents=True)
    for name in ("old.json", "new.json"):
        (folder / name).write_text("{}")
    os.utime(folder / "old.json", (0, 0))
    assert found(store) == {"cache/describe/old.json": "what was said of code of the user's own"}
