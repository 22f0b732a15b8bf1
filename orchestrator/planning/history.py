"""How long trials take, from what this store has seen; nothing is guessed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from orchestrator.planning import costs
from orchestrator.store.records import TrialStatus
from orchestrator.store.store import Store
from trainer.spec import TrialSpec

MAX_READ = 2000
"""At most so many other trials are read from a large store."""

_SAME = (
    "model",
    "options",
    "dataset",
    "data_id",
    "image_size",
    "train_subset",
    "validation",
    "trainable",
    "precision",
)
"""What near configurations share; their times are scaled by FLOPs and epochs. Whatever code of the
user's own they have: most of its changes cost no time."""


@dataclass(frozen=True)
class TimeEstimate:
    """Training seconds of a whole trial, and the range that was seen."""

    seconds: float
    low: float
    high: float
    source: str
    """`same` (replicates of the configuration), or `near` (scaled from others like it)."""


class History:
    """Times of the store's finished trials. Reads the store once, and only if asked."""

    def __init__(
        self, store: Store, planned: Iterable[tuple[TrialSpec, TrialStatus]], processes: int = 1
    ) -> None:
        """`planned`: trials whose states are known already; `processes`: how many will train each
        together, which is taken to be so many times as fast as one."""
        self._processes = processes
        self._store = store
        self._planned = list(planned)
        self._rates: dict[str, dict[tuple[object, ...], list[float]]] | None = None

    def estimate(self, spec: TrialSpec) -> TimeEstimate | None:
        """From replicates of the same configuration, or else from near ones; None: unknown."""
        if self._rates is None:
            self._rates = self._read()
        for source, key, work in _keys(spec):
            if seen := self._rates[source].get(key):
                values = [rate * work / self._processes for rate in seen]
                return TimeEstimate(median(values), min(values), max(values), source)
        return None

    def _read(self) -> dict[str, dict[tuple[object, ...], list[float]]]:
        rates: dict[str, dict[tuple[object, ...], list[float]]] = {
            "same": defaultdict(list),
            "near": defaultdict(list),
        }
        for spec, status in finished(self._store, self._planned):
            # In a pack each took its share of the pack's time.
            seconds = (status.seconds or 0.0) * status.processes / status.packed
            for source, key, work in _keys(spec):
                if work:
                    rates[source][key].append(seconds / work)
        return rates


def finished(
    store: Store, planned: Sequence[tuple[TrialSpec, TrialStatus]]
) -> Iterator[tuple[TrialSpec, TrialStatus]]:
    """Finished trials: of `planned`, whose states are known, and others in the store."""
    seen = {status.trial_id for _, status in planned}
    for spec, status in planned:
        if status.seconds is not None:
            yield spec, status
    others = (name for name in store.trial_ids() if name not in seen)
    for _, trial_id in zip(range(MAX_READ), others, strict=False):
        status = store.state(trial_id)
        spec_read = store.spec(trial_id) if status.seconds is not None else None
        if spec_read is not None:
            yield spec_read, status


def _keys(spec: TrialSpec) -> list[tuple[str, tuple[object, ...], float]]:
    """For each kind of likeness: what it is found by, and the work that its time is divided by."""
    shared = tuple(getattr(spec, name) for name in _SAME)
    shape = (*shared, spec.depth, spec.width, spec.batch_size, spec.optimizer, spec.k)
    work = float(spec.epochs)
    flops = costs.flops_per_image(spec)
    return [("same", shape, work), *([("near", shared, work * flops)] if flops else [])]
