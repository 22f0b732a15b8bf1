"""What the watch over a round decides; with real signals it is in tests/faults."""

import os
import time
from types import SimpleNamespace

import pytest
from made_trials import a_store, claimed, failed, record, write

from orchestrator.launching import ray_environment
from orchestrator.launching.worker import PackTask
from orchestrator.store import liveness
from orchestrator.store.folder import HEARTBEAT
from trainer.spec import TrialSpec

SPEC = TrialSpec(epochs=3)


@pytest.fixture
def ray_watch(monkeypatch):
    monkeypatch.setattr(ray_environment, "prepare", lambda: None)
    from orchestrator.launching import ray_watch

    return ray_watch


@pytest.fixture
def killed(ray_watch, monkeypatch):
    """The actors that were killed."""
    found = []
    monkeypatch.setattr(ray_watch.ray, "kill", found.append)
    return found


@pytest.fixture
def store(tmp_path):
    return a_store(tmp_path)


@pytest.fixture
def watch(ray_watch, store):
    """A round of one task, which was given to an actor just now."""
    task = PackTask(store=store.root, data=store.root, sweep="depth", launch=1, trials=(SPEC,))
    watch = ray_watch.Watch([task], local=True)
    watch.on_trial_start(trial=trial())
    return watch


def trial():
    state = SimpleNamespace(ray_actor="the actor")
    return SimpleNamespace(trial_id="t", config={"task": "0 x"}, temporary_state=state)


@pytest.fixture
def later(ray_watch, monkeypatch):
    """Sets the clock forward by so many seconds, as the watch sees it."""

    def later(seconds):
        moved = time.monotonic() + seconds
        clock = SimpleNamespace(monotonic=lambda: moved)
        monkeypatch.setattr(ray_watch, "time", clock)

    return later


def grow_old(claim):
    (claim.folder / HEARTBEAT).touch()
    long_ago = time.time() - 2 * liveness.STALE_S
    os.utime(claim.folder / HEARTBEAT, (long_ago, long_ago))


def test_a_worker_whose_trial_lives_is_left_alone_however_long_it_takes(
    store, watch, killed, later, ray_watch
):
    write(claimed(store, SPEC), record(0))
    later(10 * ray_watch.SILENT_S)
    watch.look()
    assert killed == []
    assert not watch.ray_stands_still


def test_a_worker_whose_trials_heartbeat_stays_old_is_killed(
    store, watch, killed, later, ray_watch
):
    grow_old(claimed(store, SPEC))
    watch.look()
    assert killed == []  # of a store that was away the next beat may come
    later(liveness.HEARTBEAT_S + ray_watch.LOOK_S + 1)
    watch.look()
    assert killed == ["the actor"]


def test_a_heartbeat_that_comes_again_saves_its_worker(store, watch, killed, later, ray_watch):
    claim = claimed(store, SPEC)
    grow_old(claim)
    watch.look()
    (claim.folder / HEARTBEAT).touch()
    watch.look()
    later(liveness.HEARTBEAT_S + ray_watch.LOOK_S + 1)
    watch.look()
    assert killed == []


@pytest.mark.parametrize("begun", [False, True], ids=["begins nothing", "does not come back"])
def test_a_worker_none_of_whose_trials_lives_is_killed_after_a_while(
    store, watch, killed, later, ray_watch, begun
):
    if begun:
        failed(claimed(store, SPEC))
    watch.look()
    assert killed == []
    later(ray_watch.IDLE_S + 1)
    watch.look()
    assert killed == ["the actor"]


def test_an_attempt_from_before_the_worker_is_not_its_own(store, killed, later, watch, ray_watch):
    grow_old(claimed(store, SPEC))
    watch.on_trial_start(trial=trial())
    later(liveness.HEARTBEAT_S + ray_watch.LOOK_S + 1)
    watch.look()
    assert killed == []


def test_a_task_that_has_ended_is_not_looked_at(watch, killed, later, ray_watch):
    watch.on_trial_complete(trial=trial())
    later(ray_watch.IDLE_S + 1)
    watch.look()
    assert killed == []


def test_a_store_that_is_away_kills_nobody(store, watch, killed, later, ray_watch, monkeypatch):
    def away(_store, _trial_id):
        raise OSError("away")

    monkeypatch.setattr(ray_watch.Store, "attempts", away)
    later(2 * ray_watch.SILENT_S)
    watch.look()
    assert killed == []
    assert not watch.ray_stands_still


def test_a_round_ends_where_nothing_moves_and_its_thread_goes_no_further(watch, later, ray_watch):
    later(ray_watch.SILENT_S + 1)
    waited_for = ray_watch.threading.Event()
    assert not ray_watch.Round(waited_for.wait, watch).run()
    waited_for.set()
    with pytest.raises(RuntimeError, match="was left"):
        watch.on_step_begin()


def test_a_round_returns_or_raises_as_its_thread_does(watch, ray_watch):
    assert ray_watch.Round(lambda: None, watch).run()
    watch.on_step_begin()
    with pytest.raises(ZeroDivisionError):
        ray_watch.Round(lambda: 1 / 0, watch).run()
