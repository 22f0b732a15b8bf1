"""A process that decodes images for the one that started it; what travels between the two.

It takes jobs from a socket and answers each, until the other end closes. A job that another
trial's decoder is doing is put off for the next one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from trainer.data.decoding import Task
from trainer.data.shared_chunks import Stream
from trainer.errors import TrainerError

PATIENCE_S = 2.0
"""So long another trial's decoder may take for a chunk; then it is decoded here, too."""
_PAUSE_S = 0.003


@dataclass(frozen=True)
class Job:
    """A task, where its pixels go, and which chunk of which stream they are (or of none)."""

    number: int
    task: Task
    path: str
    stream: str = ""
    chunk: int = 0


@dataclass(frozen=True)
class Answer:
    """That a job is done: what its task says, or the error that ended it."""

    number: int
    shape: tuple[int, ...] | None = None
    """Of the pixels at the job's path; None: it has none."""
    said: Any = None
    error: str = ""
    decoded: bool = True
    """Whether it was done here, and not by another trial's decoder."""


@dataclass(eq=False)
class _Waiting:
    job: Job
    put_off: float | None = None
    """When another trial's decoder was first found to have it in hand."""


def command(descriptor: int) -> list[str]:
    """What starts such a process, which inherits the socket. Not `-m`: the classes here would be
    those of `__main__` there."""
    start = f"from trainer.data import decoder_process; decoder_process.main({descriptor})"
    return [sys.executable, "-P", "-c", start]


def main(descriptor: int) -> None:
    """Serve the socket of this number."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trial, which then ends us
    os.set_inheritable(descriptor, False)
    serve(Connection(descriptor))


def serve(connection: Connection) -> None:
    """Answer jobs until the other end closes."""
    jobs: deque[_Waiting] = deque()
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            while not jobs or connection.poll():
                jobs.append(_Waiting(connection.recv()))
            for waiting in jobs:
                if answer := _try(waiting):
                    jobs.remove(waiting)
                    connection.send(answer)
                    break
            else:
                connection.poll(_PAUSE_S)


def _try(waiting: _Waiting) -> Answer | None:
    """The job's answer; None where another trial's decoder has it in hand."""
    job = waiting.job
    try:
        if not job.stream:
            return _run(job)
        stream = _stream(job.stream)
        if stream.take(job.chunk, Path(job.path)):
            return Answer(job.number, job.task.shape, decoded=False)
        with stream.claim(job.chunk) as mine:
            if mine and stream.take(job.chunk, Path(job.path)):  # published meanwhile
                return Answer(job.number, job.task.shape, decoded=False)
            if mine:
                answer = _run(job)
                stream.publish(job.chunk, Path(job.path))
                return answer
        waiting.put_off = waiting.put_off or time.monotonic()
        return _run(job) if time.monotonic() - waiting.put_off > PATIENCE_S else None
    except TrainerError as error:
        return Answer(job.number, error=str(error))
    except OSError as error:
        return Answer(job.number, error=f"{error.filename or job.path}: {error.strerror or error}")


def _run(job: Job) -> Answer:
    pixels, said = job.task.run()
    if pixels is None:
        return Answer(job.number, said=said)
    with open(job.path, "wb") as file:
        file.write(pixels.data)
    return Answer(job.number, pixels.shape, said)


@cache
def _stream(folder: str) -> Stream:
    return Stream(Path(folder))
