"""Which trials certainly have no run yet, so that a create needs no lookup of its own."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from orchestrator.tracking.lease import Lease
from orchestrator.tracking.tracker import Experiment, Tracker

LISTED = 1000
"""Where a store has so many runs in an experiment, a listing costs more than it saves."""


class Vacancies:
    """Known from one listing, made when it is first needed; true for one holding of the lease.

    Only the lease's holder creates runs, so what was without a run stays so until `fill`. Nothing
    is certain where the holder before was cut off: a create of its own may still arrive.
    """

    def __init__(
        self,
        tracker: Tracker,
        experiment: Experiment,
        store_id: str,
        lease: Lease,
        trial_ids: Iterable[str],
    ) -> None:
        self._lease, self._number = lease, lease.number
        self._tracker, self._experiment, self._store_id = tracker, experiment, store_id
        self._trial_ids = frozenset(trial_ids)
        self._vacant: set[str] | None = None

    def certain(self, trial_id: str) -> bool:
        """Whether there is certainly no run of the trial. False says nothing."""
        if not self.valid(self._experiment) or not self._lease.follows_cleanly:
            return False
        if self._vacant is None:
            listing = self._tracker.runs(self._experiment, self._store_id)
            runs = list(islice(listing, LISTED))
            taken = {run.trial_id for run in runs}
            self._vacant = set() if len(runs) == LISTED else set(self._trial_ids - taken)
        return trial_id in self._vacant

    def valid(self, experiment: Experiment) -> bool:
        """Whether it tells of this experiment and the lease was held ever since."""
        held = self._lease.take() and self._lease.number == self._number
        return held and experiment.key == self._experiment.key

    def fill(self, trial_id: str) -> None:
        """A run of the trial may exist from now on."""
        if self._vacant is not None:
            self._vacant.discard(trial_id)
