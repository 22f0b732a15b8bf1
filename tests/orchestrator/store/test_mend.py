"""What `audit --mend` puts right: each thing that a result or a launch still holds."""

import json
import os

import pytest
from made_trials import a_store, claimed, failed, finished, launched, record, trained, write

from orchestrator.cli import app
from orchestrator.store import ownership
from orchestrator.store.liveness import ResumedFrom, this_process
from orchestrator.store.mend import mend
from orchestrator.tracking.audit import audit
from trainer import results
from trainer.spec import TrialSpec

SPEC = TrialSpec(epochs=3)


@pytest.fixture
def store(tmp_path):
    """A finished trial whose second attempt went on after the first one's epoch 1."""
    store = a_store(tmp_path)
    launched(store, [SPEC])
    first = claimed(store, SPEC)
    write(first, record(0), record(1), record(2, 9.0))
    failed(first)
    again = claimed(store, SPEC, ResumedFrom(attempt=1, epoch=1))
    write(again, record(2), record(3))
    finished(store, again, SPEC)
    return store


@pytest.fixture
def folder(store):
    return store.trial_folder(SPEC.trial_id)


def in_order(store):
    return all(check.ok for check in audit(store, "depth", None))


def lose(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def edit(path):
    path.write_bytes(path.read_bytes().replace(b".5", b".7").replace(b'"seed":0', b'"seed":1'))


def a_folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def a_pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


NAMES = ["spec.json", "attempts/1/journal.jsonl", "attempts/2/journal.jsonl"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", [lose, empty, edit, a_folder, a_pipe])
def test_spec_and_journals_are_written_again_and_the_result_stays(store, folder, name, damage):
    result = (folder / results.RESULT).read_bytes()
    damage(folder / name)
    assert not in_order(store)
    (line,) = mend(store, [SPEC])
    assert line.startswith(SPEC.trial_id)
    assert in_order(store)
    assert store.spec(SPEC.trial_id) == SPEC
    assert store.journal(SPEC.trial_id) == store.result(SPEC.trial_id).history
    assert (folder / results.RESULT).read_bytes() == result
    assert mend(store, [SPEC]) == []


@pytest.mark.parametrize("damage", [empty, a_folder, a_pipe])
def test_a_damaged_result_is_set_aside_and_the_trial_is_claimed_again(store, folder, damage):
    for path in (folder / results.RESULT, folder / "attempts/2" / results.RESULT):
        damage(path)
    assert store.state(SPEC).state == "failed"
    (line,) = mend(store, [SPEC])
    assert "resume trains it again" in line
    assert ownership.claim(store, SPEC, this_process()).number == 3
    assert len(list(folder.glob("result.damaged-*"))) == 1


@pytest.mark.parametrize("damage", [empty, a_folder, a_pipe, edit])
def test_a_result_that_its_attempt_still_has_whole_is_not_trained_again(store, folder, damage):
    path = folder / results.RESULT
    whole = path.read_bytes()
    path.unlink()  # as an editor does that renames what it wrote
    path.write_bytes(whole)
    damage(path)
    assert store.state(SPEC).state == "failed"
    (line,) = mend(store, [SPEC])
    assert "taken from the attempt" in line
    assert (path.read_bytes(), store.state(SPEC).state) == (whole, "finished")
    assert in_order(store)


def test_what_is_in_order_or_has_not_begun_is_left_alone(store):
    trained(store, other := SPEC.changed(seed=1))
    assert mend(store, [SPEC, other, SPEC.changed(seed=2)]) == []
    assert not store.trial_folder(SPEC.changed(seed=2).trial_id).exists()


def test_the_command_names_what_it_mended_and_ends_as_the_audit_does(store, folder, capsys):
    empty(folder / "spec.json")
    arguments = ["audit", "--store", str(store.root), "--json"]
    app.run(arguments)
    assert not checks(capsys)["folders"]
    app.run([*arguments, "--mend"])
    said = capsys.readouterr().out
    assert json.loads(said)["mended"] == [
        f"{SPEC.trial_id}: its spec.json was written again, as its launch has it"
    ]
    app.run(arguments)
    assert checks(capsys)["folders"]


def checks(capsys):
    found = json.loads(capsys.readouterr().out)["checks"]
    return {check["name"]: check["ok"] for check in found}
