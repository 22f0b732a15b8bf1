"""What every tracker does alike: one suite for the one in memory and MLflow's, and for an installed
package's that BNSWEEP_CONTRACT_TRACKER names."""

import json
import os
import uuid

import pytest

from orchestrator import extensions, settings
from orchestrator.errors import UnreachableError
from orchestrator.tracking.memory_tracker import MemoryTracker
from orchestrator.tracking.tracker import (
    POINTS_A_CALL,
    TAG_STORE,
    TAG_TRIAL,
    Data,
    Point,
    Refused,
    RunGone,
)

TAGS = {TAG_TRIAL: "trial-a", TAG_STORE: "store-1"}
POINT = Point("train/loss", 0.5, 1_700_000_000_000, 3)


SETTINGS = {"database": "mlflow_settings", "server": "server_settings"}
OWN = os.environ.get("BNSWEEP_CONTRACT_TRACKER")


@pytest.fixture(params=[OWN] if OWN else ["memory", *SETTINGS])
def tracker(request, tmp_path):
    if OWN:
        return extensions.find("tracker", OWN)(settings.load(tmp_path))
    if request.param == "memory":
        return MemoryTracker()
    from orchestrator.tracking import mlflow_tracker

    return mlflow_tracker.connect(request.getfixturevalue(SETTINGS[request.param]))


@pytest.fixture
def sweep():
    return f"depth-{uuid.uuid4().hex[:8]}"  # the server is the session's


@pytest.fixture
def found(tracker, sweep):
    return lambda **wanted: list(tracker.runs(tracker.open(sweep), "store-1", **wanted))


@pytest.fixture
def run_id(tracker, sweep):
    return tracker.create(tracker.open(sweep), "trial-a", TAGS, 1_700_000_000_000)


def identities(tracker, run_id):
    return sorted(point.identity for point in tracker.points(run_id))


def test_a_living_tracker_passes_its_check(tracker):
    tracker.check(5.0)


def test_a_sweep_is_one_experiment_however_often_it_is_opened(tracker, sweep):
    assert tracker.open(sweep).key == tracker.open(sweep).key
    assert tracker.open(sweep).key != tracker.open("another").key


def test_an_experiment_is_described_as_often_as_wished(tracker, sweep, found):
    for text in ("first", "| a | b |\n| --- | --- |"):
        tracker.describe(tracker.open(sweep), text)
    assert found() == []


def test_an_experiment_is_introduced_as_often_as_wished(tracker, sweep, found):
    for text in ("first", ""):
        tracker.introduce(tracker.open(sweep), text, ["test/accuracy"], ["depth", "seed"])
    assert found() == []


def test_the_data_of_a_run_are_named_as_often_as_wished(tracker, run_id):
    data = Data("cifar10", "0123456789abcdef", {"training": 50_000, "test": 10_000})
    for _ in range(2):
        tracker.add_data(run_id, data)
    with pytest.raises(RunGone):
        tracker.add_data("0" * 32, data)


def test_a_run_is_found_by_trial_and_store(tracker, sweep, run_id, found):
    (run,) = found(trial_id="trial-a")
    assert (run.run_id, run.name, run.status, run.started_ms) == (
        run_id,
        "trial-a",
        "RUNNING",
        1_700_000_000_000,
    )
    assert run.trial_id == "trial-a"
    assert found(trial_id="trial-b") == []
    assert list(tracker.runs(tracker.open(sweep), "store-2")) == []
    assert list(tracker.runs(tracker.open("another"), "store-1")) == []


def test_of_several_runs_the_oldest_comes_first(tracker, sweep, found):
    experiment = tracker.open(sweep)
    ids = [tracker.create(experiment, "trial-a", TAGS, 1000 + i) for i in range(3)]
    assert [run.run_id for run in found(trial_id="trial-a")] == ids


def test_a_point_sent_twice_is_stored_once(tracker, run_id):
    tracker.send(run_id, [POINT])
    tracker.send(run_id, [POINT, POINT._replace(step=4)])
    assert identities(tracker, run_id) == [POINT.identity, POINT._replace(step=4).identity]


def test_what_is_not_a_number_is_stored_once_too(tracker, run_id):
    for _ in range(2):
        tracker.send(run_id, [POINT._replace(value=float("nan"))])
    assert identities(tracker, run_id) == [POINT._replace(value=float("nan")).identity]


def test_a_full_call_is_accepted(tracker, sweep, run_id, found):
    points = [POINT._replace(step=step) for step in range(POINTS_A_CALL)]
    tracker.send(run_id, points, {"depth": "14", "data_id": ""}, {"bnsweep.state": "running"})
    assert len(tracker.points(run_id)) == POINTS_A_CALL
    (run,) = found()
    assert run.params == {"depth": "14", "data_id": ""}
    assert run.tags["bnsweep.state"] == "running"
    assert run.latest == {"train/loss": 0.5}


def test_the_newest_value_of_a_metric_is_the_one_with_the_highest_step(tracker, run_id, found):
    tracker.send(run_id, [POINT._replace(step=9, value=0.9), POINT._replace(step=2, value=0.2)])
    assert found()[0].latest == {"train/loss": 0.9}


def test_a_changed_param_is_refused(tracker, run_id):
    tracker.send(run_id, params={"depth": "14"})
    tracker.send(run_id, params={"depth": "14"})
    with pytest.raises(Refused):
        tracker.send(run_id, params={"depth": "20"})


def test_a_tag_can_change(tracker, sweep, run_id, found):
    tracker.send(run_id, tags={"bnsweep.state": "failed"})
    tracker.send(run_id, tags={"bnsweep.state": "finished"})
    assert found()[0].tags["bnsweep.state"] == "finished"


def test_a_status_can_change_and_change_back(tracker, run_id, found):
    tracker.set_status(run_id, "KILLED", 1_700_000_001_000)
    assert (found()[0].status, found()[0].ended_ms) == ("KILLED", 1_700_000_001_000)
    tracker.set_status(run_id, "RUNNING", None)
    assert found()[0].status == "RUNNING"


def test_files_are_kept_by_folder_and_name(tracker, run_id, tmp_path):
    (tmp_path / "log.txt").write_text("first")
    tracker.upload(run_id, tmp_path / "log.txt")
    (tmp_path / "log.txt").write_text("second")
    tracker.upload(run_id, tmp_path / "log.txt", "attempts/1")
    tracker.upload(run_id, tmp_path / "log.txt", "attempts/1")
    assert tracker.artifacts(run_id) == ["attempts/1/log.txt", "log.txt"]


def test_a_removed_run_is_gone_until_it_is_restored(tracker, run_id, found):
    tracker.send(run_id, [POINT])
    tracker.remove(run_id)
    tracker.remove(run_id)
    assert found() == []
    with pytest.raises(RunGone):
        tracker.send(run_id, [POINT])
    assert tracker.restore(run_id)
    assert identities(tracker, run_id) == [POINT.identity]


def test_a_run_that_never_was_is_gone_and_cannot_be_restored(tracker, sweep):
    tracker.open(sweep)
    with pytest.raises(RunGone):
        tracker.send("0" * 32, [POINT])
    assert not tracker.restore("0" * 32)


def test_the_link_leads_to_the_charts_of_the_sweep(mlflow_settings, server_settings, sweep):
    from orchestrator.tracking import mlflow_tracker

    embedded = mlflow_tracker.connect(mlflow_settings)
    assert embedded.experiment_url(sweep) == ""
    place = embedded.open(sweep).id
    url = embedded.experiment_url(sweep, "http://127.0.0.1:5000")
    page = f"http://127.0.0.1:5000/#/experiments/{place}/runs?workflowType=machine_learning"
    assert url == f"{page}&compareRunsMode=CHART"
    embedded.introduce(embedded.open(sweep), "text", ["test/accuracy"], ["depth"])
    url = embedded.experiment_url(sweep, "http://127.0.0.1:5000")
    assert url == f"{page}&viewStateShareKey=bnsweep-configurations&compareRunsMode=CHART"
    server = mlflow_tracker.connect(server_settings)
    assert server.experiment_url(sweep).startswith(f"{server_settings.tracking_uri}/#/experiments/")


def test_a_memory_tracker_that_is_down_cannot_be_reached(sweep):
    tracker = MemoryTracker()
    tracker.down = True
    with pytest.raises(UnreachableError):
        tracker.open(sweep)


def test_mlflow_shows_the_pages_for_training_the_text_the_columns_and_the_data(mlflow_settings):
    from mlflow import MlflowClient

    from orchestrator.tracking import mlflow_tracker

    tracker = mlflow_tracker.connect(mlflow_settings)
    client = MlflowClient(tracking_uri=mlflow_settings.tracking_uri)
    place = client.create_experiment("as an older version made it")
    client.set_experiment_tag(place, "mlflow.experimentKind", "genai_development_inferred")
    experiment = tracker.open("as an older version made it")
    tracker.introduce(experiment, "What depth does", ["test/accuracy"], ["depth"])
    tags = client.get_experiment(place).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert tags["mlflow.note.content"] == "What depth does"
    view = json.loads(tags["mlflow.sharedViewState.bnsweep"])
    assert view["name"] == "What varies"
    columns = json.loads(view["state"])["selectedColumns"]
    assert columns == ["metrics.`test/accuracy`", "params.`depth`"]
    grouped = json.loads(tags["mlflow.sharedViewState.bnsweep-configurations"])
    (key,) = json.loads(grouped["state"])["groupBy"]["groupByKeys"]
    assert (grouped["name"], key["groupByData"]) == ("Configurations", "config")

    client.set_experiment_tag(place, "mlflow.experimentKind", "genai_development")  # by a person
    client.set_experiment_tag(place, "mlflow.note.content", "mine")
    tracker.introduce(tracker.open("as an older version made it"), "another", [], [])
    tags = client.get_experiment(place).tags
    assert tags["mlflow.experimentKind"] == "genai_development"
    assert tags["mlflow.note.content"] == "mine"

    run_id = tracker.create(experiment, "trial-a", {**TAGS, "mlflow.user": "ada"}, 1)
    for _ in range(2):
        images = {"training": 50_000, "test": 10_000}
        tracker.add_data(run_id, Data("cifar10", "0123456789abcdef", images))
    run = client.get_run(run_id)
    assert run.info.user_id == "ada"
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("cifar10", "0123456789abcdef")
    assert json.loads(used.dataset.profile) == {
        "training_images": 50_000,
        "test_images": 10_000,
    }
    assert [tag.value for tag in used.tags] == ["training, test"]
