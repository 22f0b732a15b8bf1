"""Real launches through Ray, killed with real signals: nothing is lost, nothing is done twice."""

from __future__ import annotations

import signal
import time
from collections import Counter

import pytest
from harness import Tracker, descendants, kill
from mlflow.tracking import MlflowClient


def runs(harness, uri=""):
    """The sweep's MLflow runs."""
    client = MlflowClient(uri or f"sqlite:///{harness.store.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    return client, client.search_runs([experiment.experiment_id])


def assert_complete(harness, undisturbed, uri=""):
    """All trials have the undisturbed results; MLflow has one run each, with each point once."""
    assert harness.digests() == undisturbed
    audit = harness.json("audit", "tiny")
    assert audit["ok"], [check for check in audit["checks"] if not check["ok"]]
    client, found = runs(harness, uri)
    assert Counter(run.data.tags["bnsweep.trial_id"] for run in found) == Counter(list(undisturbed))
    for run in found:
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "test/accuracy")
        assert [point.step for point in history] == [0, 1, 2, 3]


def attempts(harness):
    return {t: harness.store.attempts(t) for t in harness.store.trial_ids()}


def some_trial_is_past_its_first_epoch(harness):
    states = [harness.store.state(t) for t in harness.store.trial_ids()]
    return any(s.state == "running" and (s.epoch or 0) >= 1 for s in states)


def a_worker_died_in_a_trial(harness):
    """Kill a worker; whether it was in the middle of a trial (a trial lasts about a second)."""
    for pid in harness.workers()[:1]:
        kill(pid, signal.SIGKILL)
        time.sleep(0.2)
    return harness.lost_attempts() > 0


def test_a_killed_worker_costs_an_epoch_and_the_launch_goes_on_by_itself(harness, undisturbed):
    process = harness.launch()
    harness.wait_for(lambda: some_trial_is_past_its_first_epoch(harness))
    harness.wait_for(lambda: a_worker_died_in_a_trial(harness))
    assert process.wait(timeout=240) == 0, harness.output()
    assert_complete(harness, undisturbed)
    assert max(map(len, attempts(harness).values())) >= 2


def test_a_launch_killed_whole_is_finished_by_resume(harness, undisturbed):
    process = harness.launch()
    harness.wait_for(lambda: harness.finished() >= 2)
    harness.kill_all(process)
    before = {t: n for t, n in attempts(harness).items() if harness.store.result(t)}
    done = harness.run("resume", "tiny", "-y")
    assert done.returncode == 0, done.stderr
    assert_complete(harness, undisturbed)
    after = attempts(harness)
    assert {t: after[t] for t in before} == before  # finished trials were not trained again


def test_a_driver_killed_alone_loses_nothing(harness, undisturbed):
    process = harness.launch()
    harness.wait_for(lambda: harness.finished() >= 2)
    rest = descendants(process.pid)
    kill(process.pid, signal.SIGKILL)
    process.wait()
    done = harness.run("resume", "tiny", "-y")
    assert done.returncode == 0, done.stderr
    for pid in rest:
        kill(pid, signal.SIGKILL)
    assert_complete(harness, undisturbed)


def test_a_stop_from_another_terminal_ends_cleanly_and_resumes(harness, undisturbed):
    process = harness.launch()
    harness.wait_for(lambda: some_trial_is_past_its_first_epoch(harness))
    assert harness.run("stop", "tiny", "--now").returncode == 0
    assert process.wait(timeout=120) == 4, harness.output()
    states = Counter(t["state"] for t in harness.json("status", "tiny")["trials"])
    # Those that were running may have finished before their next look for a request.
    assert states["stopped"] + states["pending"] >= 1
    assert states["running"] == 0
    assert harness.run("resume", "tiny", "-y").returncode == 0
    assert_complete(harness, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launch_ends_it_cleanly_and_it_resumes(harness, undisturbed, number):
    process = harness.launch()
    harness.wait_for(lambda: some_trial_is_past_its_first_epoch(harness))
    kill(process.pid, number)
    assert process.wait(timeout=120) == 4, harness.output()
    assert harness.run("launch", str(harness.sweep), "-y").returncode == 0
    assert_complete(harness, undisturbed)


def test_two_launches_at_once_train_every_trial_once(harness, undisturbed):
    first, second = harness.launch(), harness.launch()
    assert first.wait(timeout=300) == 0, harness.output()
    assert second.wait(timeout=120) == 0, harness.output()
    assert set(map(tuple, attempts(harness).values())) == {(1,)}
    assert_complete(harness, undisturbed)


def test_a_tracker_that_is_down_for_the_whole_sweep_gets_everything_by_sync(harness, undisturbed):
    tracker = Tracker(harness.folder)
    harness.tracking_uri = tracker.uri
    process = harness.launch()
    assert process.wait(timeout=240) == 0, harness.output()
    assert "sync" in harness.output()
    assert harness.run("sync", "tiny").returncode == 3
    tracker.start()
    try:
        assert harness.run("sync", "tiny").returncode == 0
        assert_complete(harness, undisturbed, tracker.uri)
    finally:
        tracker.kill()
