"""A sweep over three hosts that loses one host, has another cut off, and gets a new one.

One story, told once by `story` and looked at by each test. The 150 s that a dead host's claim needs
to go stale are not waited for: its heartbeat is set back by them, as its clock is the file's time.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hosts import wait_until

from orchestrator.store import liveness
from orchestrator.store.folder import HEARTBEAT
from orchestrator.store.store import Store

pytestmark = pytest.mark.timeout(600)

SWEEP = """\
name: spread
recipe: digits
base: {depth: 14, epochs: 40}
axes: {trainable: [all, bn_only]}
seeds: 2
resources: {cpus: 1}
"""


@dataclass
class Story:
    submitted: Any
    again: Any
    launched: Any
    """The same launch, followed to its end from a second call."""
    first_hosts: dict[str, str]
    """Trial by host, when all three were training."""
    dead_trial: str
    dead_epoch: int
    killed_ms: int
    store: Store


def hosts_of(store: Store) -> dict[str, str]:
    """Trial by host, of the trials that train now and have a checkpoint."""
    found = {}
    for trial_id in store.trial_ids():
        status = store.state(trial_id)
        if status.state == "running" and (status.epoch or 0) >= 2:
            found[status.owner.partition(",")[0]] = trial_id
    return found


def attempts(store: Store, trial_id: str) -> list[Path]:
    return [store.attempt_folder(trial_id, n) for n in store.attempts(trial_id)]


def grow_old(heartbeat: Path) -> None:
    old = heartbeat.stat().st_mtime - liveness.STALE_S
    os.utime(heartbeat, (old, old))


@pytest.fixture(scope="module")
def story(cluster, tmp_path_factory) -> Story:
    path = tmp_path_factory.mktemp("laptop") / "spread.yaml"
    path.write_text(SWEEP)
    launch = ("launch", str(path), "--cluster", cluster.url)
    submitted = cluster.bnsweep(*launch, "--detach")
    assert submitted.returncode == 0, submitted.stderr
    again = cluster.bnsweep(*launch, "--detach")
    store = Store(cluster.store)
    wait_until(lambda: len(hosts_of(store)) == 3, 120, "training on three hosts")
    first = hosts_of(store)

    cluster.workers["w1"].kill()
    cluster.workers["w2"].cut()
    killed_ms = time.time_ns() // 1_000_000
    grow_old(store.attempt_folder(first["w1"], 1) / HEARTBEAT)
    dead_epoch = store.journal(first["w1"])[-1].epoch
    cluster.workers["w3"] = cluster.network.host("w3")
    cluster.workers["w3"].start_ray(cluster.head)
    wait_until(lambda: "w3" in cluster.nodes(), 90, "a fourth node")

    launched = cluster.bnsweep(*launch, timeout_s=400)
    cluster.workers["w2"].mend()
    dead = first["w1"]
    return Story(submitted, again, launched, first, dead, dead_epoch, killed_ms, store)


def test_the_launch_is_one_job_however_often_it_is_asked_for(story):
    assert "is submitted" in story.submitted.stderr
    assert "is running already" in story.again.stderr
    name = story.submitted.stderr.split()[1]
    assert name.startswith("spread-")
    assert name in story.launched.stderr


def test_trials_spread_over_the_hosts(story):
    assert sorted(story.first_hosts) == ["head", "w1", "w2"]


def test_every_trial_is_finished_and_the_launch_says_so(story):
    assert story.launched.returncode == 0, story.launched.stderr
    assert [story.store.state(t).state for t in story.store.trial_ids()] == ["finished"] * 4


def test_a_dead_hosts_trial_goes_on_elsewhere_from_its_last_epoch(story):
    first, second = attempts(story.store, story.dead_trial)
    start = liveness.read_start(second)
    assert liveness.read_start(first).host == "w1"
    assert start.host != "w1"
    assert start.resumed_from.epoch >= story.dead_epoch


def test_a_host_that_joins_is_used(story):
    starts = [
        liveness.read_start(attempt)
        for trial_id in story.store.trial_ids()
        for attempt in attempts(story.store, trial_id)
    ]
    assert any(s.host == "w3" and s.time_ms > story.killed_ms for s in starts)


def test_a_host_that_is_cut_off_keeps_its_trial_as_long_as_it_lives(story):
    """Ray gives it up and starts its trial elsewhere; that one waits for the last heartbeat."""
    for trial_id in story.store.trial_ids():
        folders = attempts(story.store, trial_id)
        for earlier, later in pairwise(folders):
            last_beat_ms = (earlier / HEARTBEAT).stat().st_mtime * 1000
            assert last_beat_ms <= liveness.read_start(later).time_ms


def test_each_epoch_of_a_journal_comes_once(story):
    for trial_id in story.store.trial_ids():
        epochs = [record.epoch for record in story.store.journal(trial_id)]
        assert epochs == sorted(set(epochs))
        assert epochs[-1] == 40


def test_the_audit_from_the_laptop_finds_nothing(story, cluster):
    audit = cluster.bnsweep("audit", "spread", "--json", "--cluster", cluster.url)
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert json.loads(audit.stdout)["ok"] is True


def test_a_host_without_the_store_is_said_in_one_line_before_anything_trains(cluster, story):
    blind = cluster.network.host("blind")
    blind.start_ray(cluster.head, hidden=cluster.store)
    wait_until(lambda: "blind" in cluster.nodes(), 90, "another node")
    try:
        path = cluster.laptop.folder / "later.yaml"
        path.write_text(SWEEP.replace("spread", "later").replace("depth: 14", "depth: 20"))
        said = cluster.bnsweep("launch", str(path), "--cluster", cluster.url)
    finally:
        blind.kill()
        wait_until(lambda: "blind" not in cluster.nodes(), 90, "without that node")
    assert said.returncode == 3
    assert f"node blind ({blind.address}): store {cluster.store}: is not the head's" in said.stderr
    assert not [t for t in story.store.trial_ids() if "d20" in t]
