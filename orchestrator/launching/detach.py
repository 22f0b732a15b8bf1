"""A command that goes on in the background when its terminal is closed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

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


def start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Run the same command line in a session of its own; its output goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "orchestrator", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, CHILD: "1"},
            start_new_session=True,
        )


def wait_for_launch(
    process: subprocess.Popen[bytes], store: Store, sweep: str, before: int, log: Path
) -> Launch:
    """The launch that the process recorded, newer than number `before`.

    Raises UnreachableError, with its last output, where it ended without one.
    """
    while True:
        ended = process.poll() is not None
        if store.launch_numbers(sweep)[-1:] > [before]:
            launch = store.newest_launch(sweep)
            if launch is not None:
                process.returncode = 0  # left to itself: Python need not warn that it still runs
                return launch
        if ended:
            output = (
                log.read_text(encoding="utf-8", errors="replace")
                .strip()
                .splitlines()[-_OUTPUT_LINES:]
            )
            raise UnreachableError(f"sweep {sweep}: the launch in the background ended:", *output)
        time.sleep(_POLL_S)
