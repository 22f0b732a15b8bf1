"""A launch that needs more than any node has, and a node that comes."""

from __future__ import annotations

import time

import pytest
from hosts import wait_until

from orchestrator.store import liveness
from orchestrator.store.store import Store

SWEEP = """\
name: NAME
recipe: digits
base: {depth: 8, epochs: 1, train_subset: 256}
axes: {trainable: [bn_only]}
resources: {cpus: 2}
"""


@pytest.fixture
def sweep(request, tmp_path):
    path = tmp_path / "waiting.yaml"
    path.write_text(SWEEP.replace("NAME", request.node.name.replace("_", "-")[:40]))
    return path


def test_without_waiting_it_is_refused_and_told_how_to_wait(cluster, sweep):
    done = cluster.bnsweep("launch", str(sweep), "--cluster", cluster.url, timeout_s=200)
    assert done.returncode == 2, done.stderr
    assert "no node has 2 CPUs and 0 GPUs" in done.stderr
    assert "resources.wait: 15m" in done.stderr


def test_waiting_ends_with_its_time(cluster, sweep):
    launch = ("launch", str(sweep), "--cluster", cluster.url, "--wait", "5s")
    done = cluster.bnsweep(*launch, timeout_s=200)
    assert done.returncode == 2, done.stderr
    assert "waiting 5s for one" in done.stderr
    assert "no node has 2 CPUs" in done.stderr


def test_a_stop_ends_waiting(cluster, sweep):
    launch = ("launch", str(sweep), "--cluster", cluster.url, "--wait", "10m")
    assert cluster.bnsweep(*launch, "--detach").returncode == 0
    name = sweep.read_text().split()[1]
    wait_until(lambda: Store(cluster.store).launch_numbers(name), 120, "the launch")
    time.sleep(10)
    assert cluster.bnsweep("stop", name, "--cluster", cluster.url).returncode == 0
    # In a minute, not in ten: either the job that was stopped, or a new one that is refused.
    done = cluster.bnsweep(*launch[:-2], timeout_s=60)
    assert done.returncode in (2, 4), done.stderr


def test_a_node_that_comes_is_used(cluster, sweep):
    launch = ("launch", str(sweep), "--cluster", cluster.url, "--wait", "5m")
    assert cluster.bnsweep(*launch, "--detach").returncode == 0
    name = sweep.read_text().split()[1]
    store = Store(cluster.store)
    wait_until(lambda: store.launch_numbers(name), 120, "the launch")
    cluster.workers["w9"] = cluster.network.host("w9")
    cluster.workers["w9"].start_ray(cluster.head, cpus=2)
    done = cluster.bnsweep(*launch, timeout_s=250)
    assert done.returncode == 0, done.stderr
    (spec,) = store.newest_launch(name).specs
    assert store.state(spec).state == "finished"
    start = liveness.read_start(store.attempt_folder(spec.trial_id, 1))
    assert start.host == "w9"
