"""Processes that decode images for a trial, for as long as it trains.

Each has one thread. What they give does not depend on how many they are, nor on which of them did
what: one that dies is replaced, and its tasks are done again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer import child_process
from trainer.data import shared_chunks
from trainer.data.decoder_process import Answer, Job, command
from trainer.data.decoding import Outcome, Task
from trainer.errors import DataError

MOST_DEATHS = 3
"""So often in a row a decoder may die without having done anything."""
_ROOM_BYTES = 1024**3
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Shared:
    """A task whose pixels other trials may need: the same `stream` and `chunk` for the same."""

    task: Task
    stream: str
    chunk: int


@dataclass
class _Process:
    """A decoder, and what it has been given and not answered yet, by number."""

    popen: subprocess.Popen[bytes]
    connection: Connection
    jobs: dict[int, Job] = field(default_factory=dict)


class Decoders:
    """`count` processes; 0: tasks are done in this process, when their turn comes."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.decoded = 0
        """Tasks done by these processes, and not taken from other trials' decoders."""
        self._answers: dict[int, Answer] = {}
        self._abandoned: set[int] = set()
        self._number = self._deaths = 0
        self._processes: list[_Process] = []
        self._locks: dict[Path, int] = {}
        self._base = self._folder = Path()

    @property
    def pids(self) -> list[int]:
        """Of the processes that run now."""
        return [process.popen.pid for process in self._processes]

    def outcomes(self, tasks: Iterable[Task | Shared], ahead: int) -> Iterator[Outcome]:
        """Of each task, in order; `ahead` of them are under way at a time.

        Pixels are valid until the next outcome is asked for. Raises DataError.
        """
        if not self.count:
            for task in tasks:
                yield (task.task if isinstance(task, Shared) else task).run()
            return
        self._start()
        under_way: deque[Job] = deque()
        try:
            for task in tasks:
                under_way.append(self._send(task))
                if len(under_way) > ahead:
                    yield self._outcome(under_way)
            while under_way:
                yield self._outcome(under_way)
        finally:  # also where whoever asked for the outcomes wants no more
            for job in under_way:
                self._abandon(job)

    # --- one job ---------------------------------------------------------------------------------

    def _send(self, task: Task | Shared) -> Job:
        self._number += 1
        path = str(self._folder / str(self._number))
        if isinstance(task, Shared):
            folder = self._base / task.stream
            if folder not in self._locks:
                self._locks[folder] = shared_chunks.use(folder)
            job = Job(self._number, task.task, path, str(folder), task.chunk)
        else:
            job = Job(self._number, task, path)
        self._give(min(self._processes, key=lambda process: len(process.jobs)), job)
        return job

    def _outcome(self, under_way: deque[Job]) -> Outcome:
        """Wait for the first of the jobs, and forget it."""
        job = under_way[0]
        while job.number not in self._answers:
            self._receive()
        answer = self._answers.pop(job.number)
        under_way.popleft()
        if answer.error:
            raise DataError(answer.error)
        return _pixels(job, answer), answer.said

    def _abandon(self, job: Job) -> None:
        if self._answers.pop(job.number, None) is None:
            self._abandoned.add(job.number)
        else:
            Path(job.path).unlink(missing_ok=True)

    # --- the processes ---------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the processes, the first time."""
        if self._processes:
            return
        self._base = shared_chunks.base(_ROOM_BYTES)
        self._folder = Path(tempfile.mkdtemp(prefix="trial-", dir=self._base))
        self._locks[self._folder] = shared_chunks.use(self._folder)
        self._processes += [_started() for _ in range(self.count)]
        weakref.finalize(self, _end, self._processes, self._folder, self._locks)

    def _give(self, process: _Process, job: Job) -> None:
        process.jobs[job.number] = job
        with contextlib.suppress(ConnectionError):  # it is dead: `_receive` gives it to another
            process.connection.send(job)

    def _receive(self) -> None:
        """Wait until a process says something."""
        by_connection: dict[Any, _Process] = {p.connection: p for p in self._processes}
        for connection in wait(list(by_connection)):
            process = by_connection[connection]
            try:
                answer: Answer = process.connection.recv()
            except (EOFError, ConnectionError):
                self._replace(process)
                continue
            self._deaths = 0
            self.decoded += answer.decoded
            job = process.jobs.pop(answer.number)
            if answer.number in self._abandoned:
                self._abandoned.discard(answer.number)
                Path(job.path).unlink(missing_ok=True)
            else:
                self._answers[answer.number] = answer

    def _replace(self, dead: _Process) -> None:
        """Start another in its place, which does again what the dead one had in hand."""
        dead.connection.close()
        code = dead.popen.wait()
        self._deaths += 1
        if self._deaths > MOST_DEATHS:
            raise DataError(
                f"processes that decode images end at once (exit code {code}); the log has more"
            )
        new = _started()
        self._processes[self._processes.index(dead)] = new
        for job in dead.jobs.values():
            Path(job.path).unlink(missing_ok=True)
            self._give(new, job)


def _started() -> _Process:
    ours, theirs = socket.socketpair()
    popen = subprocess.Popen(
        command(theirs.fileno()),
        stdin=subprocess.DEVNULL,
        env=child_process.environment(**dict.fromkeys(_THREADS, "1")),
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    return _Process(popen, Connection(ours.detach()))


def _end(processes: list[_Process], folder: Path, locks: dict[Path, int]) -> None:
    for process in processes:
        process.connection.close()
        process.popen.kill()  # it has nothing to lose
        process.popen.wait()
    shutil.rmtree(folder, ignore_errors=True)
    for lock in locks.values():
        os.close(lock)


def _pixels(job: Job, answer: Answer) -> NDArray[np.uint8] | None:
    """Mapped, and the file's name is gone: the memory goes with the last who looks at it."""
    if answer.shape is None:
        return None
    pixels: NDArray[np.uint8] = np.memmap(job.path, np.uint8, "r", shape=answer.shape)
    Path(job.path).unlink()
    return pixels
