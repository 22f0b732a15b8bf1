"""What the store has of a sweep, read once for a report."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from orchestrator.reporting import probe_results
from orchestrator.reporting.probe_results import ProbedConfiguration
from orchestrator.reporting.replicates import VALIDATION_ACCURACY, Replicates, gather
from orchestrator.reporting.tables import Table, accuracy_table
from orchestrator.store import lookup
from orchestrator.store.records import Launch, TrialStatus
from orchestrator.store.store import Store
from trainer.results import Result
from trainer.spec import TrialSpec


@dataclass(frozen=True)
class SweepResults:
    """A sweep as far as it has come."""

    launch: Launch
    specs: tuple[TrialSpec, ...]
    statuses: list[TrialStatus]
    """One for each spec."""
    results: list[Result]
    """Of the finished trials, in the order of the specs."""
    groups: list[Replicates]
    """The results by configuration."""
    probed: list[ProbedConfiguration]
    verified: dict[str, str] = field(default_factory=dict)
    """What `verify` has found last, by trial: `same` or `differs`, in results as they are now."""

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.launch.sweep.name

    @property
    def unfinished(self) -> list[TrialStatus]:
        """Trials without a result."""
        return [status for status in self.statuses if status.state != "finished"]

    def accuracy_table(self) -> Table:
        """Test accuracy by configuration."""
        return accuracy_table(self.specs, self.results, self.statuses)

    def validation_table(self) -> Table | None:
        """Accuracy on the images for validation, of the trials that keep some; None: none does."""
        specs = [spec for spec in self.specs if spec.validation]
        if not specs:
            return None
        return accuracy_table(specs, self.results, self.statuses, VALIDATION_ACCURACY)


def read(store: Store, sweep_name: str) -> SweepResults:
    """What the newest launch of the sweep has left so far. Raises UserError without one."""
    launch = lookup.launch_of(store, sweep_name)
    specs = launch.specs
    statuses = [store.state(spec) for spec in specs]
    results = [result for spec in specs if (result := store.result(spec.trial_id))]
    groups = gather(results)
    probed = probe_results.read(store, groups)
    verified = _verified(store, sweep_name, results)
    return SweepResults(launch, specs, statuses, results, groups, probed, verified)


def _verified(store: Store, name: str, results: list[Result]) -> dict[str, str]:
    finished_ms = {result.trial_id: result.finished_ms for result in results}
    found = {}
    for certificate in store.certificates(name):
        for trial in certificate["trials"]:
            known = trial["verdict"] in ("same", "differs")
            if known and certificate["time_ms"] >= finished_ms.get(trial["trial_id"], math.inf):
                found[trial["trial_id"]] = trial["verdict"]
    return found
