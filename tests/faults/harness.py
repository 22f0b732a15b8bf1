"""Real processes to be killed: launches of a tiny sweep, their workers, Ray's daemons, a tracker.

Everything a harness starts runs in a session of its own and is ended by PID at the close.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from processes import alive, descendants

from orchestrator.store import liveness
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec

ROOT = Path(__file__).parents[2]


def sweep_text(seeds: int = 2, epochs: int = 3, name: str = "tiny") -> str:
    """A sweep of 5 modes x `seeds` trials of ResNet-8, each a second or two long."""
    modes = ["all", "bn_only", "output_only", "bn_output", "all_but_bn"]
    return (
        f"name: {name}\n"
        "base: {model: cifar_resnet, depth: 8, dataset: synthetic, image_size: 8,"
        f" train_subset: 512, batch_size: 32, epochs: {epochs}, lr: 0.02, crop_padding: 1}}\n"
        f"axes:\n  trainable: [{', '.join(modes)}]\n"
        f"seeds: {seeds}\n"
    )


class Harness:
    """A store, a sweep file, and the processes of one scenario."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        self.store = Store(folder / "runs")
        self.sweep = folder / "sweep.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        self.sweep.write_text(text)
        self.started: list[subprocess.Popen[bytes]] = []
        self.tracking_uri = ""
        self._home = folder / "home"
        self._home.mkdir(exist_ok=True)
        # Ray's sockets have paths of at most 107 bytes, which pytest's folders exceed.
        self._ray = Path(f"/tmp/bnsweep-faults-{os.getpid()}")

    @property
    def environment(self) -> dict[str, str]:
        """Own HOME and Ray folder; Ray and MLflow quiet."""
        return {
            **os.environ,
            "HOME": str(self._home),
            "PYTHONPATH": str(ROOT),
            "BNSWEEP_STORE": str(self.store.root),
            "BNSWEEP_DATA": str(self.folder / "data"),
            "BNSWEEP_RAY_TEMP": str(self._ray),
            # Compiled once for the machine, not in every scenario's own HOME.
            "BNSWEEP_CACHE": os.environ.get("BNSWEEP_CACHE", str(Path.home() / ".cache/bnsweep")),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            **({"MLFLOW_TRACKING_URI": self.tracking_uri} if self.tracking_uri else {}),
        }

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A bnsweep command in the background; what it prints goes to a file."""
        with (self.folder / f"out-{len(self.started)}.txt").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.cli", *arguments],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def run(self, *arguments: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """A bnsweep command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def launch(self) -> subprocess.Popen[bytes]:
        """Launch the sweep in the background."""
        return self.start("launch", str(self.sweep), "-y")

    def json(self, *arguments: str) -> dict[str, object]:
        """What a command prints with --json."""
        done = self.run(*arguments, "--json")
        assert done.stdout, f"{arguments}: exit code {done.returncode}: {done.stderr}"
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def output(self) -> str:
        """All that the background commands printed, for a failed test's message."""
        return "\n".join(p.read_text() for p in sorted(self.folder.glob("out-*.txt")))

    # -- who is running ---------------------------------------------------------------------------

    def workers(self) -> list[int]:
        """PIDs of the processes that are training a trial now."""
        found = set()
        for trial_id in self.store.trial_ids():
            for number in self.store.attempts(trial_id):
                folder = self.store.attempt_folder(trial_id, number)
                start = liveness.read_start(folder)
                if start and not liveness.ended(folder) and not liveness.provably_gone(start):
                    found.add(start.pid)
        return sorted(found)

    def lost_attempts(self) -> int:
        """Number of attempts whose process died without a word."""
        return sum(
            not liveness.ended(folder) and liveness.provably_gone(start)
            for trial_id in self.store.trial_ids()
            for number in self.store.attempts(trial_id)
            if (start := liveness.read_start(folder := self.store.attempt_folder(trial_id, number)))
        )

    def daemons(self, driver: int, name: str) -> list[int]:
        """PIDs of Ray's processes called `name` below the driver."""
        return [pid for pid in descendants(driver) if name in _command(pid)]

    def wait_for(self, condition, timeout_s: float = 120) -> None:  # type: ignore[no-untyped-def]
        """Wait until `condition()` holds; the test fails with all output where it never does."""
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, f"waited in vain\n{self.output()}"
            time.sleep(0.05)

    @property
    def trials(self) -> list[str]:
        """Ids of the sweep's trials."""
        spec = sweep_spec.load(self.sweep)
        return [trial.trial_id for trial in spec.trials]

    def finished(self) -> int:
        """Number of trials with a result."""
        return sum(self.store.state(t).state == "finished" for t in self.store.trial_ids())

    def digests(self) -> dict[str, str]:
        """The digest of each finished trial's final network."""
        found = {}
        for trial_id in self.store.trial_ids():
            result = self.store.result(trial_id)
            if result is not None:
                found[trial_id] = result.digests["final"]
        return found

    # -- ending ------------------------------------------------------------------------------------

    def kill_all(self, process: subprocess.Popen[bytes]) -> None:
        """The whole launch at once, as when the machine loses power."""
        victims = [process.pid, *descendants(process.pid)]
        for pid in victims:
            kill(pid, signal.SIGKILL)
        process.wait()
        until = time.monotonic() + 60
        while any(alive(pid) for pid in victims) and time.monotonic() < until:
            time.sleep(0.05)

    def close(self) -> None:
        """End every process that this harness started."""
        for process in self.started:
            if process.poll() is None:
                self.kill_all(process)


class Tracker:
    """A real MLflow server on a SQLite file, that can be killed, paused and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = {
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with (self.folder / "mlflow.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
                    *("--port", str(self.port), "--workers", "1"),
                    *("--backend-store-uri", f"sqlite:///{self.folder}/server.db"),
                    *("--artifacts-destination", str(self.folder / "artifacts")),
                ],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + 120
        while not self._healthy():
            assert time.monotonic() < until, (self.folder / "mlflow.log").read_text()
            time.sleep(0.2)

    def _healthy(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(self.uri + "/health", timeout=2):
            return True
        return False

    def signal(self, number: int) -> None:
        """Send a signal to the server and its children."""
        if self.process:
            for pid in (self.process.pid, *descendants(self.process.pid)):
                kill(pid, number)

    def kill(self) -> None:
        """End it without warning."""
        self.signal(signal.SIGKILL)
        if self.process:
            self.process.wait()
            self.process = None


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def kill(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
