"""In which order packs begin: the longest first, so that no trial goes on alone at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.planning import costs
from orchestrator.planning.history import History
from trainer.grouping import share_a_forward
from trainer.spec import TrialSpec

Pack = tuple[TrialSpec, ...]


def longest_first(
    packs: Sequence[Pack], history: History, epochs_done: Mapping[str, int]
) -> list[Pack]:
    """The packs by what is left of their training; equal ones keep their order.

    In seconds where the store has times of trials like all of them, else in operations.
    `epochs_done`: of trials that go on, by their id.
    """
    trials = [spec for pack in packs for spec in pack]
    seconds = _seconds(trials, history)
    whole = seconds or {spec.trial_id: _operations(spec) for spec in trials}

    def left(spec: TrialSpec) -> float:
        done = epochs_done.get(spec.trial_id, 0) / max(spec.epochs, 1)
        return whole[spec.trial_id] * (1 - min(done, 1.0))

    def of_pack(pack: Pack) -> float:
        # The times of packed trials are their shares of the pack's; operations are not shared out.
        return (sum if seconds or not share_a_forward(pack) else max)(map(left, pack))

    return sorted(packs, key=of_pack, reverse=True)


def _seconds(trials: Sequence[TrialSpec], history: History) -> dict[str, float]:
    """Of each trial's whole training; empty where one is unknown."""
    seconds = {}
    for spec in trials:
        estimate = history.estimate(spec)
        if estimate is None:
            return {}
        seconds[spec.trial_id] = estimate.seconds
    return seconds


def _operations(spec: TrialSpec) -> float:
    return costs.training_flops(spec) or float(spec.epochs)
