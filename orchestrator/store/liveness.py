"""Whether the process behind a claim may be alive: who it is, and its heartbeat.

A claim is a numbered folder (ownership.py): a trial's attempt, or a lease. It is over when it says
so, when its process is provably gone (same boot, same PID namespace, no such PID with that start
time), or when its heartbeat is old by the file server's clock. What the heartbeat file holds says
at which step its owner is, for people to look at.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator import machine
from orchestrator.store.folder import ERROR, HEARTBEAT, START
from trainer import files, results

STALE_S = 150.0
"""A heartbeat older than this, by the file server's clock, belongs to no living process."""
HEARTBEAT_S = 15.0
RELEASED = "released"
"""File in a lease that was given back."""
_ENDS = (ERROR, results.RESULT, RELEASED)
_BEAT_BYTES = 128


class ResumedFrom(BaseModel):
    """The checkpoint an attempt went on from: the last epoch it holds, of which attempt."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    attempt: int
    epoch: int


class Start(BaseModel):
    """`start.json`: the process that made the claim, and where it went on from."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    user: str = ""
    """Empty in files of before."""
    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    process_start: str
    """Start time of the process in kernel ticks: a PID alone may have been given out again."""
    time_ms: int
    gpu: str = ""
    """Index of the GPU that the process was given (of several: a list); empty: all, or none."""
    sweep: str = ""
    launch: int = 0
    resumed_from: ResumedFrom | None = None

    @property
    def owner(self) -> str:
        """The process for a person: `host, pid 123, GPU 0`."""
        return f"{self.host}, pid {self.pid}{f', GPU {self.gpu}' if self.gpu else ''}"


class Progress(BaseModel):
    """What a heartbeat says of the epoch under way."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    epoch: int
    """From 1."""
    step: int
    """Updates done in it."""
    steps: int
    """Updates that it has."""
    seconds_since_step: float


def this_process(sweep: str = "", launch: int = 0) -> Start:
    """The calling process as the owner of a claim."""
    return Start(
        user=machine.user_name(),
        host=socket.gethostname(),
        boot_id=_boot_id(),
        pid_namespace=_pid_namespace(),
        pid=os.getpid(),
        process_start=process_start(os.getpid()),
        time_ms=time.time_ns() // 1_000_000,
        gpu=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        sweep=sweep,
        launch=launch,
    )


def read_start(claim: Path) -> Start | None:
    """The claim's `start.json`; None where it is missing or damaged."""
    return files.read_json(claim / START, Start)


def provably_gone(start: Start) -> bool:
    """Whether the owner cannot be running: seen only from its own boot and PID namespace."""
    if not start.boot_id or start.boot_id != _boot_id():
        return False
    if start.pid_namespace != _pid_namespace():
        return False
    return process_start(start.pid) != start.process_start and not _hidden(start.pid)


def ended(claim: Path) -> bool:
    """Whether a file in the claim itself says that it is over."""
    return any((claim / name).exists() for name in _ENDS)


def alive(claim: Path, now: float) -> bool:
    """Whether the owner may still be at work. `now`: the file server's clock in seconds."""
    return not ended(claim) and not silent(claim, now)


def silent(claim: Path, now: float) -> bool:
    """Whether the process behind the claim is gone, whatever its files say of its end."""
    start = read_start(claim)
    if start is not None and provably_gone(start):
        return True
    return now - _last_beat(claim) >= STALE_S


def _last_beat(claim: Path) -> float:
    for path in (claim / HEARTBEAT, claim):  # a claim is a sign of life too
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return 0.0


def read_progress(claim: Path, now: float) -> Progress | None:
    """Where the owner stands in its epoch; None where it has not said. `now`: the file server's
    clock in seconds."""
    try:
        beat = (claim / HEARTBEAT).stat().st_mtime
        said = Progress.model_validate_json((claim / HEARTBEAT).read_bytes())
    except (OSError, ValidationError):
        return None
    since = said.seconds_since_step + max(0.0, now - beat)
    return said.model_copy(update={"seconds_since_step": since})


class Heartbeat:
    """Touches a claim's heartbeat file from a thread while its owner is at work, and writes the
    step that the owner has told it last."""

    def __init__(self, claim: Path, interval_s: float = HEARTBEAT_S) -> None:
        self._progress: tuple[int, int, int, float] | None = None
        self._path = claim / HEARTBEAT
        self._interval_s = interval_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._path.touch()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def note(self, epoch: int, step: int, steps: int) -> None:
        """Take in a step (see Progress); the next beat writes it."""
        self._progress = epoch, step, steps, time.monotonic()

    def _beat(self) -> None:
        while not self._over.wait(self._interval_s):
            with contextlib.suppress(OSError):  # away for a moment: the next beat tries again
                self._write_progress()
            with contextlib.suppress(OSError):  # also where the disk is full
                os.utime(self._path)

    def _write_progress(self) -> None:
        """Over what is there, at one length: a reader sees one whole line or the other."""
        if self._progress is None:
            return
        epoch, step, steps, at = self._progress
        since = time.monotonic() - at
        said = Progress(epoch=epoch, step=step, steps=steps, seconds_since_step=since)
        with self._path.open("r+b", buffering=0) as file:
            file.write(said.model_dump_json().encode().ljust(_BEAT_BYTES))


def _boot_id() -> str:
    return _first_line(Path("/proc/sys/kernel/random/boot_id"))


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def process_start(pid: int) -> str:
    """Field 22 of /proc/PID/stat; empty where there is no such process, or only its zombie."""
    fields = _first_line(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in "ZX":
        return ""
    return fields[19]


def _hidden(pid: int) -> bool:
    """Whether there is such a process that /proc does not show: another user's, under `hidepid`."""
    if Path(f"/proc/{pid}").exists():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
