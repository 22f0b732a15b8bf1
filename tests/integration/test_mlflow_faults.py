"""The forwarder against a real MLflow server that dies, stalls, fails and loses answers."""

import random
import time
import uuid

import pytest
from faulty_proxy import FaultyProxy
from made_trials import a_store, claimed, failed, finished, launched, record, trained, write
from mlflow import MlflowClient

from orchestrator.errors import UnreachableError
from orchestrator.settings import Settings
from orchestrator.store.liveness import ResumedFrom
from orchestrator.tracking import mlflow_tracker
from orchestrator.tracking.forwarder import Forwarder, sync
from orchestrator.tracking.tracker import points_of
from trainer.spec import TrialSpec

SPECS = [TrialSpec(epochs=3, seed=seed) for seed in range(2)]


@pytest.fixture
def sweep():
    return f"faults-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def store(tmp_path, sweep):
    store = a_store(tmp_path)
    launched(store, SPECS, sweep)
    return store


@pytest.fixture
def tracker(server_settings):
    return mlflow_tracker.connect(server_settings)


@pytest.fixture
def forwarder(store, sweep, tracker):
    forwarder = Forwarder(store, sweep, SPECS, tracker, interval_s=0.05)
    yield forwarder
    forwarder.close()


@pytest.fixture
def proxy(mlflow_server):
    proxy = FaultyProxy(mlflow_server.url)
    yield proxy
    proxy.close()


def through(proxy, tmp_path):
    return mlflow_tracker.connect(Settings(tmp_path, tmp_path, proxy.url, False))


def assert_mirrored(store, sweep, tracker, status="FINISHED"):
    """Each trial has one run with every point of its journal once."""
    found = {}
    for run in tracker.runs(tracker.open(sweep), store.identity):
        assert run.trial_id not in found
        found[run.trial_id] = run
        stored = sorted(point.identity for point in tracker.points(run.run_id))
        assert stored == sorted(p.identity for p in points_of(store.journal(run.trial_id)))
        assert run.status == status
    assert set(found) == {spec.trial_id for spec in SPECS}


def test_a_server_killed_and_started_again_over_its_database(
    store, sweep, tracker, forwarder, mlflow_server
):
    claims = [claimed(store, spec) for spec in SPECS]
    for claim in claims:
        write(claim, record(0), record(1))
    assert forwarder.pass_once().empty
    mlflow_server.kill()
    for claim in claims:
        write(claim, record(2), record(3))
    began = time.monotonic()
    backlog = forwarder.pass_once()
    assert time.monotonic() - began < 10  # by default MLflow's client takes four minutes
    assert (backlog.trials, backlog.records) == (2, 4)
    assert mlflow_server.url in backlog.problem
    mlflow_server.start()
    for claim, spec in zip(claims, SPECS, strict=True):
        finished(store, claim, spec)
    assert forwarder.pass_once().empty
    assert_mirrored(store, sweep, tracker)


def test_a_server_that_stalls_holds_up_nobody_and_misses_nothing(
    store, sweep, tracker, forwarder, mlflow_server, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    forwarder.start()
    mlflow_server.pause()
    try:
        for spec in SPECS:
            trained(store, spec)
        began = time.monotonic()
        backlog = forwarder.drain(1.0)
        assert time.monotonic() - began < 5
        assert backlog.records == 8
    finally:
        mlflow_server.resume()
    deadline = time.monotonic() + 60
    while not forwarder.drain(30.0).empty:
        assert time.monotonic() < deadline
    assert_mirrored(store, sweep, tracker)


@pytest.mark.parametrize("fault", ["500", "lost"])
def test_failing_and_lost_answers_double_nothing(store, sweep, tracker, proxy, tmp_path, fault):
    chance = random.Random(fault)
    proxy.fault = lambda: fault if chance.random() < 0.25 else ""
    forwarder = Forwarder(store, sweep, SPECS, through(proxy, tmp_path))
    claims = [claimed(store, spec) for spec in SPECS]
    for epoch in range(4):
        for claim in claims:
            write(claim, record(epoch))
        forwarder.pass_once()
    for claim, spec in zip(claims, SPECS, strict=True):
        finished(store, claim, spec)
    for _ in range(60):
        if forwarder.pass_once().empty:
            break
    forwarder.close()
    assert_mirrored(store, sweep, tracker)


def test_a_slow_server_is_not_a_dead_one(store, sweep, tracker, proxy, tmp_path):
    proxy.delay_s = 0.1
    forwarder = Forwarder(store, sweep, SPECS, through(proxy, tmp_path))
    forwarder.start()
    for spec in SPECS:
        trained(store, spec)
    assert forwarder.drain(60.0).empty
    forwarder.close()
    assert_mirrored(store, sweep, tracker)


def test_a_server_away_for_the_whole_sweep_gets_all_of_it_by_sync(store, sweep, tmp_path, tracker):
    nobody = mlflow_tracker.connect(Settings(tmp_path, tmp_path, "http://127.0.0.1:9", False))
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        nobody.check(5.0)
    forwarder = Forwarder(store, sweep, SPECS, nobody)
    forwarder.start()
    for spec in SPECS:
        trained(store, spec)
    began = time.monotonic()
    backlog = forwarder.drain(30.0)
    forwarder.close()
    assert time.monotonic() - began < 10
    assert (backlog.trials, backlog.records) == (2, 8)
    with pytest.raises(UnreachableError):
        sync(store, sweep, nobody)
    assert sync(store, sweep, tracker).empty
    assert_mirrored(store, sweep, tracker)


def test_an_experiment_deleted_by_hand_is_restored_and_it_is_said(
    store, sweep, tracker, forwarder, server_settings
):
    claims = [claimed(store, spec) for spec in SPECS]
    for claim in claims:
        write(claim, record(0))
    forwarder.pass_once()
    client = MlflowClient(server_settings.tracking_uri)
    client.delete_experiment(tracker.open(sweep).id)
    for claim in claims:
        write(claim, record(1))
    backlog = forwarder.pass_once()
    assert backlog.empty
    assert "restored" in " ".join(backlog.notes)
    assert_mirrored(store, sweep, tracker, "RUNNING")


def test_a_run_deleted_by_hand_is_restored_and_it_is_said(store, sweep, tracker, forwarder):
    for spec in SPECS:
        trained(store, spec)
    forwarder.pass_once()
    first = next(iter(tracker.runs(tracker.open(sweep), store.identity)))
    tracker.remove(first.run_id)
    forwarder.close()
    backlog = sync(store, sweep, tracker)
    assert "restored" in " ".join(backlog.notes)
    assert_mirrored(store, sweep, tracker)


def test_a_diverged_history_with_values_that_are_no_numbers_arrives_once(store, sweep, tracker):
    for spec in SPECS:
        claim = claimed(store, spec)
        write(claim, record(0), record(1, float("inf")), record(2, float("nan")))
        failed(claim, "diverged")
    for _ in range(2):
        assert sync(store, sweep, tracker).empty
    assert_mirrored(store, sweep, tracker, "FAILED")


def test_credentials_in_an_address_are_shown_to_nobody(tmp_path, store, sweep):
    uri = "http://anna:secret@127.0.0.1:9"
    tracker = mlflow_tracker.connect(Settings(tmp_path, tmp_path, uri, False))
    assert tracker.address == "http://127.0.0.1:9"
    for spec in SPECS:
        trained(store, spec)
    forwarder = Forwarder(store, sweep, SPECS, tracker)
    problem = forwarder.pass_once().problem
    forwarder.close()
    assert "127.0.0.1" in problem
    assert "secret" not in problem
    with pytest.raises(UnreachableError) as raised:
        tracker.check(2.0)
    assert "secret" not in str(raised.value)


def test_an_address_that_is_neither_server_nor_database_is_a_mistake(tmp_path):
    from orchestrator.errors import UserError

    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI"):
        mlflow_tracker.connect(Settings(tmp_path, tmp_path, "file:///somewhere", False))


def test_a_server_that_is_not_there_is_said_in_the_systems_words(tmp_path):
    tracker = mlflow_tracker.MlflowTracker("http://127.0.0.1:9", tmp_path)
    with pytest.raises(UnreachableError) as caught:
        tracker.open("depth")
    expected = "MLflow at http://127.0.0.1:9: cannot be reached (connection refused)"
    assert caught.value.lines == (expected,)


def test_a_deleted_experiment_that_comes_back_brings_no_dead_trajectory_with_it(
    store, sweep, tracker, forwarder
):
    """MLflow restores all runs of an experiment, also those that were deleted long before."""
    for spec in SPECS:
        claim = claimed(store, spec)
        write(claim, record(0), record(1))
        failed(claim, "io")
    assert forwarder.pass_once().empty
    again = [claimed(store, spec, ResumedFrom(attempt=1, epoch=0)) for spec in SPECS]
    for claim in again:
        write(claim, record(1, 7.0))
    assert forwarder.pass_once().empty
    client = MlflowClient(tracker.address)
    client.delete_experiment(tracker.open(sweep).id)
    for claim in again:
        write(claim, record(2, 8.0))
    assert forwarder.pass_once().empty
    assert_mirrored(store, sweep, tracker, "RUNNING")
