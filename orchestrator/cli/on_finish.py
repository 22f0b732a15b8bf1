"""`--on-finish CMD`: a command of the user's once a launch has ended, told how it ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from orchestrator.cli import screen
from orchestrator.launching import detach as background

COUNTS = {
    "pending": "BNSWEEP_PENDING",
    "running": "BNSWEEP_RUNNING",
    "finished": "BNSWEEP_FINISHED",
    "failed": "BNSWEEP_FAILED",
    "stopped": "BNSWEEP_STOPPED",
}
"""Where the command finds how many trials are in each state."""


def run(
    command: str, sweep: str, exit_code: int, store: Path, counts: Mapping[str, int] | None = None
) -> None:
    """Run the command in a shell, what it prints on standard error; its failure is only told.

    `counts`: number of trials in each state; None where the launch ended with an error.
    """
    if not command:
        return
    told = {"BNSWEEP_SWEEP": sweep, "BNSWEEP_EXIT_CODE": exit_code, "BNSWEEP_STORE": store}
    told |= {COUNTS[state]: number for state, number in (counts or {}).items()}
    # The command may launch a sweep of its own, which then has nobody before it.
    environment = {name: v for name, v in os.environ.items() if name != background.CHILD}
    environment |= {name: str(value) for name, value in told.items()}
    try:
        ended = subprocess.run(
            command,
            shell=True,  # the user's own command line
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=_standard_error(),
            check=False,
        )
    except OSError as error:
        screen.say(f"--on-finish: cannot be run: {error.strerror or error}", "yellow")
    except KeyboardInterrupt:
        screen.say("--on-finish: was interrupted", "yellow")
    else:
        if ended.returncode:
            screen.say(f"--on-finish: ended with code {ended.returncode}: {command}", "yellow")


def _standard_error() -> int:
    """Where the command's output goes: standard output is for results alone."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError):
        return subprocess.DEVNULL
