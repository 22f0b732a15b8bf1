"""Asks a Python module in a process of its own: the trainer, which loads torch, or a look at Ray.

The module is run with `-m`, reads its standard input where it is given some, and prints its
answer. What it says where it fails becomes one line of an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import IO, Any

from orchestrator.errors import UserError

_SHOWN = 300
"""Characters of an error that are shown."""


def ask(
    module: str,
    *arguments: object,
    given: object = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> Any:
    """The JSON value in the last line that the module prints; see `run`.

    `given`: a value that it reads as JSON on its standard input.
    """
    text = "" if given is None else json.dumps(given)
    lines = run(module, *arguments, text=text, environment=environment, timeout_s=timeout_s)
    return json.loads(lines.rpartition("\n")[2])


def follow(module: str, *arguments: object, given: object) -> Iterator[str]:
    """The lines that the module prints, each as it comes; `given` as in `ask`. Raises UserError as
    `run` does; whoever wants no more lines ends the module with all that it has started."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", module, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        stdin, stdout, stderr = map(_opened, (process.stdin, process.stdout, process.stderr))
        try:
            stdin.write(json.dumps(given))
            stdin.close()
            yield from (line.rstrip("\n") for line in stdout)
            errors = stderr.read()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode != 0:
        raise UserError((errors.strip().splitlines() or ["no output"])[-1][:_SHOWN])


def run(
    module: str,
    *arguments: object,
    text: str = "",
    environment: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> str:
    """What the module prints, without the line's end; this module's Python, not its folder (-P).

    `environment`: variables for it where ours does not have them. Raises UserError with the last
    line that it says where it fails, or takes longer than `timeout_s`: then it is killed together
    with every process that it has started.
    """
    with subprocess.Popen(
        [sys.executable, "-P", "-m", module, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**(environment or {}), **os.environ},
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(text, timeout_s)
        except BaseException as error:  # Ctrl-C, too, which does not reach its session
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise UserError(f"no answer within {timeout_s:.0f} s") from error
            raise
    if process.returncode != 0:
        lines = errors.strip().splitlines() or output.strip().splitlines()
        raise UserError((lines or ["no output"])[-1][:_SHOWN])
    return output.strip()


def _opened(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
