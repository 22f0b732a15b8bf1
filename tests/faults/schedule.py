"""Random, seeded schedules of faults against one sweep: kills, pauses, stops, launches at once.

A schedule is a function of its seed alone; when it strikes is a matter of the machine's speed, so
that the same seed may meet another moment. After the faults the sweep is left in peace and must
finish.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import time
from collections.abc import Callable

from harness import Harness, Tracker, kill


def _kill_worker(scenario: Scenario) -> None:
    if workers := scenario.harness.workers():
        kill(scenario.random.choice(workers), signal.SIGKILL)


def _kill_driver(scenario: Scenario) -> None:
    kill(scenario.process.pid, signal.SIGKILL)


def _kill_machine(scenario: Scenario) -> None:
    scenario.harness.kill_all(scenario.process)


def _kill_raylet(scenario: Scenario) -> None:
    for pid in scenario.harness.daemons(scenario.process.pid, "raylet/raylet"):
        kill(pid, signal.SIGKILL)


def _kill_gcs(scenario: Scenario) -> None:
    for pid in scenario.harness.daemons(scenario.process.pid, "gcs_server"):
        kill(pid, signal.SIGKILL)


def _preempt(scenario: Scenario) -> None:
    kill(scenario.process.pid, signal.SIGTERM)


def _interrupt_twice(scenario: Scenario) -> None:
    kill(scenario.process.pid, signal.SIGINT)
    time.sleep(0.3)
    kill(scenario.process.pid, signal.SIGINT)


def _stop(scenario: Scenario) -> None:
    scenario.harness.run("stop", "tiny", scenario.random.choice(["--now", "--graceful"]))


def _kill_tracker(scenario: Scenario) -> None:
    scenario.tracker.kill()
    time.sleep(scenario.random.uniform(0.0, 2.0))
    scenario.tracker.start()


def _pause_tracker(scenario: Scenario) -> None:
    scenario.tracker.signal(signal.SIGSTOP)
    time.sleep(scenario.random.uniform(0.5, 3.0))
    scenario.tracker.signal(signal.SIGCONT)


def _launch_again(scenario: Scenario) -> None:
    scenario.harness.launch()


FAULTS: dict[str, Callable[[Scenario], None]] = {
    "kill a worker": _kill_worker,
    "kill the driver": _kill_driver,
    "kill the machine": _kill_machine,
    "kill the raylet": _kill_raylet,
    "kill the gcs": _kill_gcs,
    "SIGTERM": _preempt,
    "Ctrl-C twice": _interrupt_twice,
    "stop": _stop,
    "kill the tracker": _kill_tracker,
    "pause the tracker": _pause_tracker,
    "launch a second time": _launch_again,
}


class Scenario:
    """One schedule against one harness with a real tracker."""

    def __init__(self, harness: Harness, tracker: Tracker, seed: int, faults: int) -> None:
        self.harness, self.tracker = harness, tracker
        self.random = random.Random(seed)
        self.plan = [self.random.choice(sorted(FAULTS)) for _ in range(faults)]
        self.done: list[str] = []
        self.process = harness.launch()

    def run(self) -> None:
        """Strike as planned, each time while something runs; then let the sweep finish."""
        for name in self.plan:
            self._wait_until_busy()
            time.sleep(self.random.uniform(0.0, 3.0))
            self.done.append(name)
            FAULTS[name](self)
        for process in self.harness.started:  # those that survived may finish their work
            self._wait_or_end(process)
        done = self.harness.run("resume", "tiny", "-y", timeout_s=600)
        assert done.returncode == 0, f"{self.done}\n{done.stdout}\n{done.stderr}"

    def _wait_until_busy(self) -> None:
        """Until a trial is running, or the launch has ended: then a new one is begun."""
        until = time.monotonic() + 120
        while not self.harness.workers() and time.monotonic() < until:
            if self.process.poll() is not None:
                if self.harness.finished() == len(self.harness.trials):
                    return
                self.process = self.harness.launch()
            time.sleep(0.1)

    def _wait_or_end(self, process) -> None:  # type: ignore[no-untyped-def]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=240)
        if process.poll() is None:
            self.harness.kill_all(process)
