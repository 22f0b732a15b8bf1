from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import hosts
from tests.cluster.hosts import Host, Network, wait_until

TOKEN = "a-token-for-this-test-and-no-other-cluster-00"
ASK = "import ray; ray.init('auto', log_to_driver=False); print(len([n for n in ray.nodes() if n['Alive']]))"


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    if reason := hosts.why_not():
        pytest.skip(reason)
    network = Network({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN})
    try:
        yield network
    finally:
        network.close()
