"""doctor: each check finds what it looks for, and the exit code is a launch's."""

import json
import sys
import types

import pytest
from PIL import Image

from orchestrator import doctor, python_process, settings
from orchestrator.errors import UnreachableError, UserError
from orchestrator.launching import data_check
from orchestrator.tracking.memory_tracker import MemoryTracker
from trainer.spec import TrialSpec

CIFAR = TrialSpec(dataset="cifar10", depth=8)


@pytest.fixture
def where(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return settings.load(tmp_path / "runs", tmp_path / "data")


def test_a_machine_that_is_fine_passes_every_check(where, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    checks = list(doctor.examine(where, [TrialSpec(dataset="digits")], MemoryTracker))
    assert [c.name for c in checks if not c.ok and c.exit_code] == []
    assert doctor.exit_code(checks) == 0
    assert not where.store.exists()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    check = doctor._python()
    assert (check.ok, check.exit_code) == (False, 2)
    assert "missing: no-such-package" in check.detail


def test_a_foreign_package_of_our_name_is_found(monkeypatch):
    foreign = types.ModuleType("trainer")
    foreign.__file__ = "/somewhere/trainer/__init__.py"
    monkeypatch.setattr(doctor, "trainer", foreign)
    (line,) = doctor.foreign_packages()
    assert line.startswith("package trainer at /somewhere/trainer is not bnsweep's")
    assert "fresh environment" in line


def test_a_store_that_cannot_be_written_stops_a_launch_with_3(where):
    where.store.parent.joinpath("runs").write_text("a file, not a folder")
    check = doctor._store(where)
    assert (check.ok, check.exit_code) == (False, 3)


def test_a_file_system_on_which_trials_cannot_be_owned_stops_a_launch_with_3(where, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    check = doctor._store(where)  # the folder that the store would lie in
    assert (check.ok, check.exit_code) == (False, 3)
    assert check.detail.startswith(f"store {where.store}: its file system has no hard links (")
    assert not where.store.exists()


def test_a_disk_that_is_too_small_says_how_much_is_wanted(where, monkeypatch):
    monkeypatch.setattr(doctor, "LITTLE_DISK_BYTES", 10**18)
    check = doctor._disk(where, [CIFAR])
    assert (check.ok, check.exit_code) == (False, 3)
    assert "bnsweep gc" in check.detail


def test_missing_data_is_a_mistake_that_says_where_to_put_it(where, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # as without a network
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    check = doctor._data(where, [CIFAR, CIFAR.changed(seed=1)])
    assert (check.ok, check.exit_code) == (False, 2)
    assert str(where.data / "cifar-10-batches-py") in check.detail
    assert "unpack cifar-10-python.tar.gz" in check.detail


def test_a_folder_of_images_is_described_or_what_it_lacks(where):
    spec = TrialSpec(dataset="image_folder", data_id="zoo", classes=2, image_size=16)
    for file in ("train/ant/1.png", "train/bee/1.png", "val/ant/1.png", "val/bee/1.png"):
        path = where.data / "zoo" / file
        path.parent.mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(path)
    check = doctor._data(where, [spec])
    folder = where.data / "zoo"
    assert check.ok
    assert check.detail == (f"{folder}: class folders, 2 training and 2 test images of 2 classes")
    (folder / "val/bee/1.png").unlink()
    assert not doctor._data(where, [spec]).ok
    assert data_check.found([spec], where.data) == [f"{folder}/val/bee: no images in this class"]


def test_data_sets_that_are_always_there_are_not_looked_for():
    assert data_check.wanted([TrialSpec(dataset="digits"), TrialSpec(dataset="synthetic")]) == []
    assert data_check.wanted([CIFAR, CIFAR.changed(seed=1)]) == [CIFAR]


def test_a_trainer_that_cannot_load_data_says_why_in_a_line(where, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert data_check.problems([CIFAR], where.data) == [
        "the trainer cannot load data here: no output"
    ]


def test_looking_at_a_tracker_makes_no_database(where):
    def connect():
        raise AssertionError("MLflow would make its database now")

    check = doctor._tracker(where, connect)
    assert (check.ok, check.detail) == (True, f"{where.store / 'mlflow.db'}: a launch makes it")


def test_a_tracker_that_is_away_stops_nothing(where, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker")
    where = settings.load(where.store, where.data)

    class Away(MemoryTracker):
        def check(self, timeout_s):
            raise UnreachableError("http://tracker: no answer")

    check = doctor._tracker(where, Away)
    assert (check.ok, check.exit_code) == (False, 0)
    assert "sync sends it later" in check.detail


def test_the_verb_prints_a_line_for_each_check_and_exits_as_a_launch_would(
    bnsweep, monkeypatch, tmp_path
):
    bad = doctor.Finding("ray", False, "cannot be started", 3)
    monkeypatch.setattr(
        doctor, "examine", lambda *_: iter([doctor.Finding("torch", True, "x"), bad])
    )
    said = bnsweep("doctor")
    assert said.code == 3
    assert said.out == "ok   torch    x\nSTOP ray      cannot be started\n"
    found = json.loads(bnsweep("doctor", "--json").out)
    assert (found["ok"], found["exit_code"], len(found["checks"])) == (False, 3, 2)


@pytest.mark.parametrize(
    ("said", "names", "code"),
    [
        ({"problem": "no answer"}, ["ray"], 3),
        ({"nodes": [{"answered": True, "problems": []}] * 20}, ["ray"] + ["node"] * 20, 0),
        ({"nodes": [{"answered": True, "problems": ["no store"]}]}, ["ray", "node"], 3),
        ({"nodes": [{"answered": False, "problems": ["silent"]}]}, ["ray", "node"], 0),
    ],
)
def test_each_node_of_a_cluster_is_a_line(where, monkeypatch, said, names, code):
    """What the nodes themselves answer is tested on several hosts, in tests/cluster."""
    monkeypatch.setattr(doctor.ray_environment, "problem", lambda: "")  # something listens there
    about = {"host": "h", "address": "a", "cpus": 4.0, "gpus": 0.0}
    nodes = [{**about, **node} for node in said.get("nodes", [])]

    def ask(*_, **__):
        if "problem" in said:
            raise UserError(said["problem"])
        return nodes

    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    monkeypatch.setattr(python_process, "ask", ask)
    checks = list(doctor._nodes(where, []))
    assert [check.name for check in checks] == names
    assert doctor.exit_code(checks) == code


def test_addresses_that_cannot_work_end_as_a_launch_would(where, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    here = settings.load(where.store, where.data)
    tracker = doctor._tracker(here, MemoryTracker)
    assert (tracker.ok, tracker.exit_code) == (False, 2)
    assert "MLFLOW_TRACKING_URI: './mlruns'" in tracker.detail
    (ray,) = doctor._nodes(here, [])
    assert (ray.ok, ray.exit_code) == (False, 3)
    assert "RAY_ADDRESS: nothing answers at 127.0.0.1:1" in ray.detail
    assert [e.exit_code for e in doctor.bad_addresses(here)] == [2, 3]
    assert [e.exit_code for e in doctor.bad_addresses(here, "inline")] == [2]
