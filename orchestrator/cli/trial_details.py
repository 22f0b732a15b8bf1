"""Everything that the store knows of one trial, in the order in which a person asks for it."""

from __future__ import annotations

from typing import Any

from orchestrator.launching.board import when
from orchestrator.planning import costs, described, plan
from orchestrator.store import liveness
from orchestrator.store.store import Store
from trainer import results


def trial_details(store: Store, trial_id: str) -> dict[str, Any]:
    """State, why it will or will not run, its fields, attempts and result, as plain values."""
    in_sweeps = {
        launch.sweep.name: {spec.trial_id: spec for spec in launch.specs}
        for launch in store.newest_launches()
    }
    spec = store.spec(trial_id) or next(
        (trials[trial_id] for trials in in_sweeps.values() if trial_id in trials), None
    )
    status = store.state(spec or trial_id)
    runs, why = plan.decision(status, store)
    details: dict[str, Any] = {
        "trial_id": trial_id,
        "state": status.state,
        "runs": runs,
        "why": why,
        "epoch": status.epoch,
        "epochs": status.epochs,
        "test_accuracy": status.test_accuracy,
        "sweeps": [name for name, trials in in_sweeps.items() if trial_id in trials],
    }
    if spec is not None and spec.validation:
        details["validation_accuracy"] = status.validation_accuracy
    if spec is not None:
        details["config_id"] = spec.config_id
        details["fields"] = {name: value for name, (value, _) in plan.explain(spec).items()}
        if described.known(spec):
            details["parameters"] = costs.counts(spec).model_dump()
    details.update((f"attempt {n}", _attempt(store, trial_id, n)) for n in store.attempts(trial_id))
    details.update(_result(store, trial_id))
    details["folder"] = str(store.trial_folder(trial_id))
    return details


def _attempt(store: Store, trial_id: str, number: int) -> str:
    """An attempt in a line: when and where it began, from which epoch, and how it ended."""
    folder = store.attempt_folder(trial_id, number)
    start = liveness.read_start(folder)
    parts = [f"{when(start.time_ms)} on {start.owner}" if start else "begun, by nobody known"]
    if start and start.user:
        parts[0] += f" by {start.user}"
    if start and start.resumed_from:
        parts.append(
            f"went on from attempt {start.resumed_from.attempt}, epoch {start.resumed_from.epoch}"
        )
    failure = store.failure_of(trial_id, number)
    if failure is not None:
        parts.append(f"{failure.failure}: {failure.cause}")
    elif (folder / results.RESULT).exists():
        parts.append("finished")
    if url := store.pulled_from(trial_id, number):
        parts.append(f"pulled from {url}")
    return "; ".join(parts)


def _result(store: Store, trial_id: str) -> dict[str, Any]:
    result = store.result(trial_id)
    if result is None:
        return {}
    return {
        "parameters": result.counts.model_dump(),
        "metrics": result.metrics,
        "seconds": result.seconds,
        "peak_memory_bytes": result.peak_memory_bytes,
        "exact": result.exact,
        "numerics": result.numerics,
        "digests": result.digests,
    }
