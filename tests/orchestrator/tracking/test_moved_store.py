"""A store with its own database, moved or copied: artifacts lie where the store is."""

import shutil
import sqlite3

import pytest
from made_trials import a_store, trained

from orchestrator import settings
from orchestrator.store.store import Store
from orchestrator.tracking import mlflow_tracker, moved_store
from orchestrator.tracking.forwarder import Forwarder
from trainer.spec import TrialSpec

SPECS = [TrialSpec(epochs=1, seed=seed) for seed in (0, 1)]


def places(store):
    with sqlite3.connect(store / "mlflow.db") as database:
        found = database.execute(
            "SELECT artifact_uri FROM runs UNION ALL SELECT artifact_location FROM experiments "
            "WHERE name = 'depth'"
        )
        return [place for (place,) in found]


def sync(store, specs):
    tracker = mlflow_tracker.connect(settings.load(store))
    forwarder = Forwarder(Store(store), "depth", specs, tracker)
    forwarder.start()
    try:
        assert forwarder.drain(60.0).empty
    finally:
        forwarder.close()


@pytest.fixture
def synced(tmp_path, empty_mlflow_database, monkeypatch):
    """A store whose one trial its own database has."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = a_store(tmp_path / "a folder")
    shutil.copy(empty_mlflow_database, store.root / "mlflow.db")
    trained(store, SPECS[0])
    sync(store.root, SPECS[:1])
    assert all("a%20folder" in place for place in places(store.root))
    return store.root


def test_after_a_move_artifacts_are_written_where_the_store_is(synced, tmp_path):
    moved = tmp_path / "elsewhere" / "runs"
    moved.parent.mkdir()
    synced.rename(moved)
    trained(Store(moved), SPECS[1])
    sync(moved, SPECS)
    assert len(places(moved)) == 3
    assert all(place.startswith((moved / "mlartifacts").as_uri()) for place in places(moved))
    assert not synced.exists()
    assert len(list(moved.glob("mlartifacts/depth/*"))) == 2


def test_a_copy_has_its_own(synced, tmp_path):
    copy, before = tmp_path / "copy", places(synced)
    shutil.copytree(synced, copy)
    mlflow_tracker.connect(settings.load(copy))
    assert all(place.startswith((copy / "mlartifacts").as_uri()) for place in places(copy))
    assert places(synced) == before


def test_another_name_of_the_same_folder_is_no_move(synced, tmp_path):
    before = places(synced)
    link = tmp_path / "link"
    link.symlink_to(synced)
    mlflow_tracker.connect(settings.load(link))
    assert places(synced) == before


def test_what_lies_elsewhere_on_purpose_stays(synced, tmp_path):
    with sqlite3.connect(synced / "mlflow.db") as database:
        database.execute("UPDATE experiments SET artifact_location = 's3://bucket/depth'")
    moved_store.follow(synced / "mlflow.db", tmp_path / "elsewhere" / "mlartifacts")
    assert "s3://bucket/depth" in places(synced)
