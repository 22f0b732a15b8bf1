"""A command that goes on in the background when its terminal is closed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.errors import UnreachableError
from orchestrator.store.records import Launch
from orchestrator.store.store import Store

CHILD = "BNSWEEP_DETACHED"
"""Set for the command in the background: it does the work instead of starting another one."""
_POLL_S = 0.1
_OUTPUT_LINES = 5


def is_child() -> bool:
    """Whether this process is the one in the background."""
    return bool(os.environ.get(CHILD))


class Background(NamedTuple):
    """A command in the background, and where in its log its own output begins."""

    process: subprocess.Popen[bytes]
    log: Path
    begins: int


def start(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> Background:
    """Run the same command line in a session of its own; its output goes to the end of `log`, where
    that of an earlier one stays, which may still run. `environment`: more than is here."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        begins = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "orchestrator", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, CHILD: "1"},
            start_new_session=True,
        )
    return Background(process, log, begins)


def wait_for_launch(background: Background, store: Store, sweep: str, before: int) -> Launch:
    """The launch that the process recorded, newer than number `before`.

    Raises UnreachableError, with its last output, where it ended without one.
    """
    process = background.process
    while True:
        ended = process.poll() is not None
        if store.launch_numbers(sweep)[-1:] > [before]:
            launch = store.newest_launch(sweep)
            if launch is not None:
                process.returncode = 0  # left to itself: Python need not warn that it still runs
                return launch
        if ended:
            output = background.log.read_bytes()[background.begins :].decode(errors="replace")
            lines = output.strip().splitlines()[-_OUTPUT_LINES:]
            raise UnreachableError(f"sweep {sweep}: the launch in the background ended:", *lines)
        time.sleep(_POLL_S)
