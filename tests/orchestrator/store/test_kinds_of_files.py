"""Anything may stand where a file should: each command answers, and names what mends it."""

from __future__ import annotations

import json
import os

import pytest
from made_store import FINISHED, SPECS

from orchestrator import settings
from orchestrator.errors import UnreachableError
from orchestrator.launching import driver
from orchestrator.launching.driver import InlineLauncher
from orchestrator.store.store import Store
from orchestrator.sweep.sweep_spec import SweepSpec
from trainer.spec import TrialSpec

TINY = TrialSpec(
    depth=8, dataset="synthetic", image_size=8, train_subset=64, batch_size=32, epochs=1, lr=0.01
)


@pytest.fixture
def store(launched):
    """A sweep `depth` with a finished trial, a failed, a running and a pending one."""
    return launched


def a_folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def a_pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def empty(path):
    path.write_bytes(b"")


def no_object(path):
    path.write_bytes(b"[1]")


NAMES = [
    "sweeps/depth/launches/1.json",
    "sweeps/depth/stop.json",
    "sweeps/depth/launches/1.held",
    f"trials/{FINISHED.trial_id}/result.json",
    f"trials/{FINISHED.trial_id}/spec.json",
    *(
        f"trials/{FINISHED.trial_id}/attempts/1/{name}"
        for name in ("start.json", "journal.jsonl", "error.json", "heartbeat", "log.txt")
    ),
]


@pytest.mark.parametrize("damage", [a_folder, a_pipe, empty, no_object])
@pytest.mark.parametrize("name", NAMES)
def test_whatever_stands_in_place_of_a_file_is_read_at_once(store, name, damage):
    """Within this process: a hang would show as the suite's own limit."""
    damage(store.root / name)
    for spec in SPECS:
        store.state(spec)
        store.journal(spec.trial_id)
        store.result(spec.trial_id)
        store.spec(spec.trial_id)
        store.failure(spec.trial_id)
    store.newest_launches()
    store.stop_for("depth", 1)
    store.held_back("depth", 1)


@pytest.mark.parametrize("damage", [a_folder, a_pipe, empty, no_object])
def test_a_damaged_store_json_stops_every_command_with_a_remedy_that_works(bnsweep, store, damage):
    identity = store.identity
    path = store.root / "store.json"
    damage(path)
    with pytest.raises(UnreachableError, match="is damaged"):  # as each launch does first
        store.open_for_writing()
    for verb in (["audit"], ["sync"]):
        said = bnsweep(*verb)
        assert said.code == 3, said.err
        assert f"{path}: is damaged" in said.err
        assert "the tag bnsweep.store of its runs" in said.err
        assert "Traceback" not in said.err
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
    path.write_text(json.dumps({"version": 1, "id": identity}))
    assert store.identity == identity
    store.check_version()


def test_a_sweep_whose_only_launch_is_damaged_says_what_to_do(bnsweep, store):
    empty(store.root / "sweeps/depth/launches/1.json")
    said = bnsweep("resume", "depth")
    assert said.code == 2
    assert "launches/1.json is damaged; launch its sweep file again" in said.err


@pytest.mark.parametrize("data_id", [".", ".."])
def test_no_data_id_leads_beside_the_data_folder(data_id):
    with pytest.raises(ValueError, match="data_id"):
        TrialSpec(dataset="image_folder", data_id=data_id, classes=2, image_size=8)


def test_a_store_that_is_emptied_in_flight_is_not_all_finished(tmp_path):
    here = settings.load(store=tmp_path / "runs", data=tmp_path / "data")
    store = Store(here.store)

    class EmptiesTheStore(InlineLauncher):
        def close(self):
            for spec in (TINY,):
                store.remove(store.trial_folder(spec.trial_id))

    class Observer(driver.Observer):
        def update(self, statuses):
            seen.append([status.state for status in statuses])

    seen = []
    outcome = driver.launch(
        SweepSpec(name="tiny", trials=[TINY]), here, EmptiesTheStore, observer=Observer()
    )
    assert outcome.exit_code == 4
    assert outcome.counts["pending"] == 1
