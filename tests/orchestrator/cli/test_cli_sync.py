"""sync against MLflow's own database."""

import json
import shutil

import pytest
from made_store import FINISHED, SPECS


@pytest.fixture
def tracked(launched, empty_mlflow_database):
    """The launched store with an MLflow database that has its tables, and nothing else."""
    shutil.copy(empty_mlflow_database, launched.root / "mlflow.db")
    return launched


def test_sync_sends_what_lacks_and_then_has_nothing_to_send(bnsweep, tracked):
    for _ in range(2):
        said = bnsweep("sync", "depth")
        assert (said.code, said.out) == (0, "depth: the tracker has everything\n")


def test_sync_without_a_name_sends_all_sweeps(bnsweep, tracked):
    found = json.loads(bnsweep("sync", "--json").out)
    assert [(s["sweep"], s["trials"]) for s in found["sweeps"]] == [("depth", 0)]


def test_sync_with_a_dead_tracker_says_so_with_exit_code_3(bnsweep, launched, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    said = bnsweep("sync", "depth")
    assert (said.code, said.out) == (3, "")
    assert "127.0.0.1:9" in said.err
    assert "Traceback" not in said.err


def test_a_finished_trial_is_in_the_tracker_after_sync(bnsweep, tracked):
    bnsweep("sync")
    cursors = {path.stem for path in tracked.forward_folder("depth").glob("*.json")}
    assert FINISHED.trial_id in cursors
    assert cursors & {spec.trial_id for spec in SPECS[:3]}
