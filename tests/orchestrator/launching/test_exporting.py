import json
import subprocess
import sys

import pytest

from orchestrator.errors import UserError
from orchestrator.launching.export import export
from trainer import results
from trainer.spec import TrialSpec

SPEC = TrialSpec(dataset="synthetic", train_subset=16, depth=8, trainable="bn_only", epochs=0)


def finish(store, folder):
    """Train the trial as its first attempt, in a process of its own, and publish it."""
    attempt = store.attempt_folder(SPEC.trial_id, 1)
    attempt.mkdir(parents=True)
    spec = folder / "spec.json"
    spec.write_text(json.dumps(SPEC.identity_fields()))
    command = [sys.executable, "-m", "trainer", str(spec), "--out", str(attempt), "--device", "cpu"]
    subprocess.run(command, check=True, capture_output=True)
    (store.trial_folder(SPEC.trial_id) / results.RESULT).hardlink_to(attempt / results.RESULT)


def test_a_finished_trial_is_exported_by_the_trainer(store, bnsweep, tmp_path):
    finish(store, tmp_path)
    line = export(store, SPEC.trial_id, tmp_path / "model.pt")
    assert line.startswith(f"{tmp_path / 'model.pt'}: 56 tensors")
    assert (tmp_path / "model.pt").stat().st_size > 100_000
    assert bnsweep("export", SPEC.trial_id, tmp_path / "too.pt", "--json").code == 0
    assert (tmp_path / "too.pt").exists()
    final = store.attempt_folder(SPEC.trial_id, 1) / results.ARTIFACTS / results.FINAL_TENSORS
    final.unlink()
    with pytest.raises(UserError, match=r"final\.pt: is missing or damaged"):
        export(store, SPEC.trial_id, tmp_path / "again.pt")


def test_an_unfinished_trial_cannot_be_exported(store, tmp_path):
    with pytest.raises(UserError, match="is pending; only a finished trial"):
        export(store, SPEC.trial_id, tmp_path / "model.pt")


def test_an_unknown_trial_is_a_mistake_without_traceback(bnsweep, store, tmp_path):
    said = bnsweep("export", "nothing-like-it", tmp_path / "model.pt")
    assert said.code == 2
    assert "Traceback" not in said.err


def test_a_folder_that_does_not_exist_is_named(store, tmp_path):
    finish(store, tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        export(store, SPEC.trial_id, tmp_path / "nowhere" / "model.pt")
