"""Hears, in a worker on a cluster, that Ray drains its node: a spot machine's notice, say.

A node that gets SIGTERM under `ray start --block`, that the autoscaler takes away or that somebody
drains by hand is marked by Ray first; what runs there has until the deadline to go elsewhere.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Self

import ray

LOOK_S = 3.0
"""How often a worker asks: a tenth of the 30 s that Ray gives after a SIGTERM."""


class NodeDrained(Exception):
    """This worker's node is being drained; Tune runs the task again on another."""


class Notice:
    """Called, says whether the node is being drained. A thread asks Ray: no step waits for it."""

    def __init__(self) -> None:
        self._node = ray.get_runtime_context().get_node_id()
        self._drained = self._is_drained()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="drain-notice", daemon=True)

    def __call__(self) -> bool:
        return self._drained

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _look(self) -> None:
        while not self._drained and not self._over.wait(LOOK_S):
            self._drained = self._is_drained()

    def _is_drained(self) -> bool:
        # Ray's own Train asks in the same way. A head that does not answer has drained nothing.
        with contextlib.suppress(Exception):
            return self._node in ray._private.state.state.get_draining_nodes()
        return False
