"""A Ray cluster of three hosts, a tracking server on a fourth, and a laptop beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hosts
import pytest
from hosts import Host, Network, wait_until

TOKEN = "a-token-for-this-test-and-no-other-cluster-00"
NOTICE = {  # a silent host after 20 s instead of 65
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "4",
}
NODES = """
import json, sys
from ray.job_submission import JobSubmissionClient
answer = JobSubmissionClient(sys.argv[1])._do_request("GET", "/nodes?view=summary")
nodes = answer.json()["data"]["summary"]
print(json.dumps([n["hostname"] for n in nodes if n["raylet"].get("state") == "ALIVE"]))
"""


@dataclass
class Cluster:
    """What the tests use of it. `store` is the folder that all hosts see."""

    network: Network
    store: Path
    head: Host
    workers: dict[str, Host]
    laptop: Host

    @property
    def url(self) -> str:
        return f"http://{self.head.address}:8265"

    def bnsweep(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """A command line on the laptop."""
        return self.laptop.run("-m", "orchestrator", *arguments, timeout_s=timeout_s)

    def nodes(self) -> list[str]:
        """Names of the hosts that Ray takes for alive; empty where the head does not answer."""
        done = self.laptop.run("-c", NODES, self.url)
        return json.loads(done.stdout) if done.returncode == 0 else []


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := hosts.why_not():
        pytest.skip(reason)
    shared = tmp_path_factory.mktemp("shared")
    network = Network({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, **NOTICE})
    try:
        yield _started(network, shared)
    finally:
        network.close()


def _started(network: Network, shared: Path) -> Cluster:
    tracker = network.host("tracker")
    store = shared / "runs"
    store.mkdir()
    driver = {
        "BNSWEEP_STORE": str(store),
        "BNSWEEP_DATA": str(shared / "data"),
        "MLFLOW_TRACKING_URI": f"http://{tracker.address}:5000",
    }
    head = network.host("head", driver)
    workers = {name: network.host(name) for name in ("w1", "w2")}
    cluster = Cluster(network, store, head, workers, network.host("laptop"))
    tracker.start(
        [
            *(str(Path(sys.executable).parent / "mlflow"), "server", "--host=0.0.0.0"),
            *("--port=5000", "--workers=1", "--serve-artifacts"),
            f"--backend-store-uri=sqlite:///{tracker.folder}/mlflow.db",
            f"--artifacts-destination={tracker.folder}/artifacts",
        ]
    )
    head.start_ray()
    wait_until(lambda: cluster.nodes() == ["head"], 90, "a head")
    for worker in workers.values():
        worker.start_ray(head)
    wait_until(lambda: len(cluster.nodes()) == 3, 90, "three nodes")
    return cluster
