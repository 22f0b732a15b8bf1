"""A launch whose nodes are taken away with notice: one by SIGTERM, one by `ray drain-node`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hosts import Host, wait_until

from orchestrator.store import liveness
from orchestrator.store.store import Store

pytestmark = pytest.mark.timeout(600)

SWEEP = """\
name: drained
recipe: digits
base: {depth: 14, epochs: 40}
axes: {trainable: [all, bn_only]}
resources: {cpus: 2}
"""
NODE_ID = """
import sys
from ray.job_submission import JobSubmissionClient
answer = JobSubmissionClient(sys.argv[1])._do_request("GET", "/nodes?view=summary")
nodes = answer.json()["data"]["summary"]
print(*[n["raylet"]["nodeId"] for n in nodes if n["hostname"] == sys.argv[2]])
"""


@dataclass
class Story:
    moved: dict[str, str]
    """Host by the trial that it trained when its notice came."""
    moved_after_s: dict[str, float]
    """How long after the notice each trial's next attempt had begun."""
    launched: Any
    store: Store


def trained_on(store: Store, host: str) -> str:
    """The trial that the host trains and has a checkpoint of; empty without one."""
    for spec in store.newest_launch("drained").specs:
        status = store.state(spec)
        if status.state == "running" and status.owner.startswith(f"{host},") and status.epoch:
            return spec.trial_id
    return ""


@pytest.fixture(scope="module")
def story(cluster, tmp_path_factory) -> Story:
    path = tmp_path_factory.mktemp("laptop") / "drained.yaml"
    path.write_text(SWEEP)
    hosts = _start(cluster, "d1", "d2", "d3", "d4")  # only these have two CPUs
    launch = ("launch", str(path), "--cluster", cluster.url)
    assert cluster.bnsweep(*launch, "--detach").returncode == 0
    store = Store(cluster.store)
    wait_until(lambda: store.launch_numbers("drained"), 120, "the launch")
    wait_until(
        lambda: sum(bool(trained_on(store, host)) for host in hosts) == 2, 180, "two that train"
    )
    moved = {host: trained_on(store, host) for host in hosts if trained_on(store, host)}

    first, second = moved
    _drain(cluster, second)
    hosts[first].terminate("ray start")
    moved_after_s = {
        host: wait_until(lambda t=trial: len(store.attempts(t)) == 2, 120, f"{host}'s trial moved")
        for host, trial in moved.items()
    }
    wait_until(lambda: first not in cluster.nodes(), 90, f"an end of {first}")
    launched = cluster.bnsweep(*launch, timeout_s=400)
    return Story(moved, moved_after_s, launched, store)


def _start(cluster, *names: str) -> dict[str, Host]:
    for name in names:
        cluster.workers[name] = cluster.network.host(name)
        cluster.workers[name].start_ray(cluster.head, cpus=2)
    wait_until(lambda: set(names) <= set(cluster.nodes()), 90, f"nodes {names}")
    return {name: cluster.workers[name] for name in names}


def _drain(cluster, host: str) -> None:
    node = cluster.laptop.run("-c", NODE_ID, cluster.url, host).stdout.strip()
    drained = cluster.laptop.run(
        *(str(Path(sys.executable).parent / "ray"), "drain-node"),
        *(f"--address={cluster.head.address}:6379", f"--node-id={node}"),
        *("--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=maintenance"),
        "--deadline-remaining-seconds=60",
    )
    assert drained.returncode == 0, drained.stderr


def test_every_trial_is_finished_and_the_launch_tells_who_moved(story):
    assert story.launched.returncode == 0, story.launched.stderr
    for host, trial in story.moved.items():
        assert story.store.state(trial).state == "finished"
        assert f"{trial}: {host} is being drained: the trial moves on" in story.launched.stderr


def test_a_moved_trial_goes_on_elsewhere_where_it_was(story):
    for host, trial in story.moved.items():
        first, second = (story.store.attempt_folder(trial, n) for n in (1, 2))
        failure = story.store.failure_of(trial, 1)
        start = liveness.read_start(second)
        assert failure.failure == "moved"
        assert liveness.read_start(first).host == host
        assert start.host not in story.moved
        assert start.resumed_from.epoch == failure.epoch


def test_nobody_waits_until_the_heartbeat_is_old(story):
    assert max(story.moved_after_s.values()) < liveness.STALE_S / 2


def test_the_audit_finds_nothing(story, cluster):
    audit = cluster.bnsweep("audit", "drained", "--json", "--cluster", cluster.url)
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert json.loads(audit.stdout)["ok"] is True
