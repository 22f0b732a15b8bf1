"""What the store has of a sweep, read once for a report."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import UserError
from orchestrator.reporting import probe_results
from orchestrator.reporting.replicates import Replicates, gather
from orchestrator.store.store import Launch, Store, TrialStatus
from trainer.results import Result
from trainer.spec import TrialSpec


@dataclass(frozen=True)
class Material:
    """A sweep as far as it has come."""

    launch: Launch
    specs: tuple[TrialSpec, ...]
    statuses: list[TrialStatus]
    """One for each spec."""
    results: list[Result]
    groups: list[Replicates]
    inside: list[probe_results.Inside]

    @property
    def unfinished(self) -> list[TrialStatus]:
        """Trials without a result."""
        return [status for status in self.statuses if status.state != "finished"]


def collect(store: Store, sweep_name: str) -> Material:
    """Read what the newest launch of the sweep has left so far; raises UserError without one."""
    launch = store.newest_launch(sweep_name)
    if launch is None:
        known = ", ".join(store.sweeps()) or "none"
        raise UserError(f"sweep {sweep_name}: was never launched in {store.root}; known: {known}")
    specs = launch.specs
    results = [found for spec in specs if (found := store.result(spec.trial_id))]
    groups = gather(results)
    statuses = [store.state(spec) for spec in specs]
    return Material(launch, specs, statuses, results, groups, probe_results.load(store, groups))
