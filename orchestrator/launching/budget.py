"""`--max-gpu-hours` while a launch runs: what its trials have taken so far, in the plan's unit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from orchestrator.launching.rounds import RunningLaunch
from orchestrator.store.records import Stop, TrialStatus

CAUSE = "max_gpu_hours"
"""What stop.json says where the launch has stopped itself."""


class Budget:
    """Adds up the GPU-hours of a launch from look to look; those of other launches' trials do not
    count, and a pack counts once."""

    def __init__(self, launch: RunningLaunch, now: Callable[[], float] = time.monotonic) -> None:
        """`now`: a clock in seconds that nobody sets."""
        self._launch, self._now = launch, now
        self._looked_at = now()
        self.spent_hours = 0.0

    def spent(self, statuses: Sequence[TrialStatus]) -> bool:
        """Whether more than the limit is spent, given the states of all trials now."""
        workers = {
            status.owner
            for status in statuses
            if status.state == "running" and self._launch.began(status.trial_id, status.attempt)
        }
        before, self._looked_at = self._looked_at, self._now()
        hours = (self._looked_at - before) / 3600
        self.spent_hours += hours * len(workers) * self._launch.resources.planned_gpus
        limit = self._launch.order.max_gpu_hours
        return limit is not None and self.spent_hours > limit

    def stop(self) -> str:
        """Ask the launch's trials to end after their step; returns the line that says so.

        Raises OSError where the request cannot be written.
        """
        name, number = self._launch.key
        self._launch.store.request_stop(name, Stop(launch=number, mode="now", cause=CAUSE))
        return (
            f"--max-gpu-hours: {self.spent_hours:.4g} GPU-hours are taken, "
            f"{self._launch.order.max_gpu_hours:g} are allowed; running trials end after their "
            f"step; to go on: bnsweep resume {name} --max-gpu-hours MORE"
        )
