"""MLflow's own pages over the store's embedded database, on a loopback port.

Where a server is configured there is nothing to start: its address is given back. No mlflow here,
only its command: importing it takes longer than starting to wait for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UnreachableError, UserError
from orchestrator.settings import Settings, sqlite_path
from orchestrator.tracking import mlflow_environment, moved_store

START_S = 90.0
"""A first start makes the database's tables, which takes up to 45 s on PostgreSQL."""
END_S = 5.0
_PR_SET_PDEATHSIG = 1


@dataclass
class Served:
    """A page to look at, and the process behind it (None: somebody else's server)."""

    url: str
    process: subprocess.Popen[bytes] | None = None

    def wait(self) -> None:
        """Until the server ends."""
        if self.process is not None:
            self.process.wait()

    def close(self) -> None:
        """End the server that was started here, and its children."""
        if self.process is None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def serve(settings: Settings, host: str = "127.0.0.1", port: int = 0) -> Served:
    """Start MLflow's server over the store and wait until it answers; port 0: a free one."""
    if settings.tracking_uri.startswith(("http://", "https://")):
        return Served(settings.tracking_uri)
    if settings.embedded_tracker and not settings.store.is_dir():
        raise UserError(
            f"store {settings.store}: does not exist; launch a sweep first, or give another "
            "with --store or BNSWEEP_STORE"
        )
    if settings.embedded_tracker:
        moved_store.follow(sqlite_path(settings.tracking_uri), settings.artifact_root)
    port = port or _free_port(host)
    log = settings.store / "mlflow.log"
    served = Served(f"http://{host}:{port}", _start(settings, host, port, log))
    try:
        _wait_until_healthy(served, log)
    except BaseException:
        served.close()
        raise
    return served


def _start(settings: Settings, host: str, port: int, log: Path) -> subprocess.Popen[bytes]:
    """One worker: several are five times slower a call. No job runner: seven processes unused.

    The database's address goes through the environment: it may hold a password, and arguments
    are visible to everybody on the machine.
    """
    environment = mlflow_environment.for_server() | {
        "MLFLOW_BACKEND_STORE_URI": settings.tracking_uri,
        "MLFLOW_ARTIFACTS_DESTINATION": settings.artifact_root.as_uri(),
    }
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--workers", "1"]
    with log.open("wb") as output:
        return subprocess.Popen(
            [*command, "--host", host, "--port", str(port)],
            env=environment,
            cwd=settings.store,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its children can be ended with it
            preexec_fn=_end_with_parent,
        )


def _end_with_parent() -> None:
    """In the new process: have Linux end it when the thread that started it is gone, so that a
    killed `ui` leaves no server behind. Elsewhere it stays."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_healthy(served: Served, log: Path) -> None:
    assert served.process is not None
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if served.process.poll() is not None:
            break
        if _answers(f"{served.url}/health"):
            return
        time.sleep(0.1)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise UnreachableError(
        f"MLflow's server did not start ({lines[-1] if lines else 'no output'}); see {log}"
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
