"""A launch whose nodes are taken away with notice: one by SIGTERM, one by `ray drain-node`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hosts import Host, wait_until

from orchestrator.store import liveness
from orchestrator.store.store import Store
from trainer import journal, results

pytestmark = pytest.mark.timeout(600)

SWEEP = """\
name: drained
recipe: digits
base: {depth: 14, epochs: 20000}
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
    """The launch, followed to its end."""
    store: Store


def trained_on(store: Store, host: str) -> str:
    """The trial that the host trains and has a checkpoint of; empty without one."""
    for spec in store.newest_launch("drained").specs:
        status = store.state(spec)
        if status.state == "running" and status.owner.startswith(f"{host},") and status.epoch:
            return spec.trial_id
    return ""


@pytest.fixture(scope="module")
def story(cluster, tmp_path_factory) -> Iterator[Story]:
    """Told without its end: the trials would train for hours, and are stopped once they go on."""
    path = tmp_path_factory.mktemp("laptop") / "drained.yaml"
    path.write_text(SWEEP)
    hosts = _start(cluster, "d1", "d2", "d3", "d4")  # only these have two CPUs
    try:
        yield _told(cluster, path, hosts)
    finally:
        for host in hosts.values():
            host.kill()
        wait_until(lambda: not hosts.keys() & set(cluster.nodes()), 90, "the cluster as before")


def _told(cluster, path: Path, hosts: dict[str, Host]) -> Story:
    launch = ("launch", str(path), "--cluster", cluster.url)
    assert cluster.bnsweep(*launch, "--detach").returncode == 0
    store = Store(cluster.store)
    wait_until(lambda: store.launch_numbers("drained"), 120, "the launch")
    wait_until(lambda: sum(bool(trained_on(store, h)) for h in hosts) == 2, 180, "two that train")
    moved = {host: trained_on(store, host) for host in hosts if trained_on(store, host)}
    with ThreadPoolExecutor() as pool:
        followed = pool.submit(cluster.bnsweep, *launch, timeout_s=400)
        first, second = moved
        _drain(cluster, second)
        hosts[first].terminate("ray start")
        moved_after_s = {
            host: wait_until(lambda t=t: len(store.attempts(t)) == 2, 120, f"{host}'s trial moved")
            for host, t in moved.items()
        }
        wait_until(lambda: all(_has_gone_on(store, t) for t in moved.values()), 120, "more epochs")
        wait_until(lambda: first not in cluster.nodes(), 90, f"an end of {first}")
        assert cluster.bnsweep("stop", "drained", "--now", "--cluster", cluster.url).returncode == 0
        return Story(moved, moved_after_s, followed.result(), store)


def _has_gone_on(store: Store, trial: str) -> bool:
    return bool(journal.read(store.attempt_folder(trial, 2) / results.JOURNAL))


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


def test_the_launch_tells_who_moved(story):
    assert story.launched.returncode == 4, story.launched.stderr  # it was stopped in the end
    for host, trial in story.moved.items():
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
        epochs = [record.epoch for record in story.store.journal(trial)]
        assert epochs == list(range(len(epochs)))  # none is lost, and none trained twice
        assert len(epochs) > failure.epoch + 1


def test_nobody_waits_until_the_heartbeat_is_old(story):
    assert max(story.moved_after_s.values()) < liveness.STALE_S / 2


def test_the_audit_finds_nothing(story, cluster):
    audit = cluster.bnsweep("audit", "drained", "--json", "--cluster", cluster.url)
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert json.loads(audit.stdout)["ok"] is True
