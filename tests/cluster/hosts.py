"""Several hosts on one machine: network namespaces on a bridge, each a host of its own.

A host has its own address, name, processes and temporary folder; what hosts share is the file
system, as a cluster shares its store. Everything is made with names of this process, and `close`
ends exactly what was made. Nothing is sent to an address outside these namespaces.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_BIN = Path(sys.executable).parent
_ROOT = Path(__file__).resolve().parents[2]
_PREFIX = f"bns{os.getpid()}"
_NETWORKS = itertools.count()
"""Several in one process have names of their own."""


def why_not() -> str:
    """Why this machine cannot make namespaces; empty where it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not all(map(shutil.which, ("ip", "unshare", "setpriv"))):
        return "needs ip (iproute2), unshare and setpriv (util-linux)"
    probe = subprocess.run(
        ["ip", "netns", "add", f"{_PREFIX}probe"], capture_output=True, text=True, check=False
    )
    if probe.returncode:
        return f"no network namespaces here: {probe.stderr.strip()}"
    _ip("netns", "del", f"{_PREFIX}probe")
    return ""


def wait_until(true: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Seconds until `true()`; fails the test with `what` after the timeout."""
    begun = time.monotonic()
    while not true():
        if time.monotonic() - begun > timeout_s:
            raise AssertionError(f"after {timeout_s:.0f} s: not yet {what}")
        time.sleep(0.5)
    return time.monotonic() - begun


class Host:
    """One host: a namespace, a folder for its HOME and temporary files, and what runs in it."""

    def __init__(
        self, network: Network, name: str, number: int, environment: dict[str, str]
    ) -> None:
        self.name = name
        self.environment = environment
        self.address = f"10.90.0.{number}"
        self.folder = network.folder / name
        (self.folder / "ray").mkdir(parents=True)
        self._network = network
        self._namespace = f"{network.prefix}{name}"
        self._services: list[subprocess.Popen[bytes]] = []
        self._connect()

    def _connect(self) -> None:
        bridge, wire = self._network.bridge, f"v{self.name}"
        _ip("netns", "add", self._namespace)
        _ip(
            *("-n", bridge, "link", "add", wire, "type", "veth"),
            *("peer", "name", "eth0", "netns", self._namespace),
        )
        _ip("-n", bridge, "link", "set", wire, "master", "br0", "up")
        _ip("-n", self._namespace, "link", "set", "lo", "up")
        _ip("-n", self._namespace, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _ip("-n", self._namespace, "link", "set", "eth0", "up")

    def start(self, command: Sequence[str], hidden: Path | None = None) -> None:
        """Start a service; its output goes into the host's folder.

        `hidden`: a folder that the service finds empty, as where a file system is not mounted.
        """
        isolated = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
        isolated += ["--mount-proc"]
        setting = f"hostname {self.name}; mount --bind {self.folder}/ray {self._network.scratch}"
        if hidden:
            setting += f"; mount -t tmpfs none {hidden}"
        log = (self.folder / f"{Path(command[0]).name}.log").open("ab")
        with log:
            self._services.append(
                subprocess.Popen(
                    [
                        # Whatever happens to the tests, the host does not outlive them.
                        *("setpriv", "--pdeathsig", "KILL"),
                        *("ip", "netns", "exec", self._namespace, *isolated),
                        *("sh", "-c", f'{setting}; exec "$@"', "sh", *command),
                    ],
                    env=self._environment(),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    def start_ray(
        self, head: Host | None = None, cpus: int = 1, hidden: Path | None = None
    ) -> None:
        """Make the host a node of the cluster of `head`; without one, the head itself."""
        place = [f"--node-ip-address={self.address}", f"--num-cpus={cpus}", "--block"]
        memory = ["--object-store-memory=80000000", "--disable-usage-stats"]
        role = (
            [f"--address={head.address}:6379"]
            if head
            else [
                *("--head", "--port=6379", "--dashboard-host=0.0.0.0"),
                f"--temp-dir={self._network.scratch}",
            ]
        )
        self.start([str(_BIN / "ray"), "start", *role, *place, *memory], hidden)

    def run(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run Python with the arguments on this host, beside its services."""
        return self.type(sys.executable, *arguments, timeout_s=timeout_s)

    def type(self, *command: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the command on this host, beside its services."""
        return subprocess.run(
            ["ip", "netns", "exec", self._namespace, *command],
            env=self._environment(),
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def terminate(self, program: str) -> None:
        """SIGTERM for the service whose command line has `program`, as a cloud or systemd sends."""
        for service in self._services:
            for pid in _below(service.pid):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if program in command and "unshare" not in command:
                    os.kill(pid, signal.SIGTERM)
                    return
        raise AssertionError(f"{self.name} has no {program}")

    def kill(self) -> None:
        """Power off: every process of the host ends at once, without a word."""
        for service in self._services:
            service.send_signal(signal.SIGKILL)
            service.wait()
        self._services.clear()

    def cut(self) -> None:
        """Pull the network cable; the host's processes go on."""
        _ip("-n", self._network.bridge, "link", "set", f"v{self.name}", "down")

    def mend(self) -> None:
        """Plug the cable in again."""
        _ip("-n", self._network.bridge, "link", "set", f"v{self.name}", "up")

    def close(self) -> None:
        """End the services and remove the namespace."""
        self.kill()
        _ip("netns", "del", self._namespace)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{_BIN}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **self._network.environment,
            **self.environment,
        }


class Network:
    """A bridge and its hosts. `environment` is what all of them are started with."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        # Short, since Ray keeps Unix sockets below it; readable by every namespace.
        self.folder = Path(tempfile.mkdtemp(prefix="bns-", dir="/tmp"))
        self.scratch = self.folder / "t"
        self.scratch.mkdir()
        self.prefix = f"{_PREFIX}n{next(_NETWORKS)}"
        self.bridge = f"{self.prefix}br"
        self.hosts: list[Host] = []
        _ip("netns", "add", self.bridge)
        _ip("-n", self.bridge, "link", "add", "br0", "type", "bridge")
        _ip("-n", self.bridge, "link", "set", "br0", "up")

    def host(self, name: str, environment: dict[str, str] | None = None) -> Host:
        """A new host on the bridge; `environment` is what its programs see besides the common."""
        host = Host(self, name, len(self.hosts) + 2, environment or {})
        self.hosts.append(host)
        return host

    def close(self) -> None:
        """End every host and take the bridge and the folder away."""
        for host in reversed(self.hosts):
            host.close()
        _ip("netns", "del", self.bridge)
        shutil.rmtree(self.folder, ignore_errors=True)


def _below(pid: int) -> list[int]:
    """Processes started by `pid`, the first level first."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found + [grandchild for child in found for grandchild in _below(child)]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
