from __future__ import annotations

from collections.abc import Iterator

import hosts
import pytest
from hosts import Network

TOKEN = "a-token-for-this-test-and-no-other-cluster-00"


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    if reason := hosts.why_not():
        pytest.skip(reason)
    network = Network({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN})
    try:
        yield network
    finally:
        network.close()
