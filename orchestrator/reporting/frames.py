"""A sweep's results as pandas frames, for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator import settings
from orchestrator.planning import costs, described
from orchestrator.store import lookup
from orchestrator.store.store import Store
from trainer.journal import Record
from trainer.results import Result
from trainer.spec import TrialSpec

COUNTS = ("total", "trainable", "bn", "output", "shortcut")
METRICS = (
    *("train/loss", "train/accuracy"),
    *("validation/loss", "validation/accuracy", "validation/accuracy_top5"),
    *("test/loss", "test/accuracy", "test/accuracy_top5"),
    "images_per_second",
)
"""Without the learning rate, which in `results` is the spec's."""
RESULT_COLUMNS = (
    *("trial_id", "config_id", "state"),
    *TrialSpec.model_fields,
    *(f"params_{name}" for name in COUNTS),
    *METRICS,
    *("seconds", "exact"),
)
HISTORY_COLUMNS = ("trial_id", "attempt", "epoch", "step", "time_ms", *METRICS, "lr")


def results(name: str, *, all: bool = False, store: Path | str | None = None) -> pd.DataFrame:
    """A row for each finished trial of the sweep's newest launch; with `all`, for each trial.

    Columns, whatever the rows: trial_id, config_id, state, every field of the spec, params_total,
    params_trainable, params_bn, params_output, params_shortcut, the last epoch's metrics
    (`test/accuracy` in %, …), seconds (of training), exact. After them `trained/…`, what the
    probes measured. Raises UserError for an unknown sweep.
    """
    opened = _open(store)
    rows = [_row(opened, spec, result) for spec, result in _trials(opened, name, all)]
    probes = sorted({column for row in rows for column in row if column.startswith("trained/")})
    return pd.DataFrame(rows, columns=[*RESULT_COLUMNS, *probes])


def histories(name: str, *, all: bool = False, store: Path | str | None = None) -> pd.DataFrame:
    """A row for each epoch of each finished trial, epoch 0 (before training) included; with
    `all`, of each trial.

    Columns, whatever the rows: trial_id, attempt, epoch, step, time_ms (since 1970), the epoch's
    metrics, lr (of its last step). For the fields of the trials, merge with `results`:

        results(name)[["trial_id", "depth", "seed"]].merge(histories(name), on="trial_id")

    Raises UserError for an unknown sweep.
    """
    opened = _open(store)
    rows = [
        {"trial_id": spec.trial_id, **dict(record), **record.metrics}
        for spec, result in _trials(opened, name, all)
        for record in _history(opened, spec, result)
    ]
    return pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))


def _open(store: Path | str | None) -> Store:
    return Store(settings.load(Path(store) if store else None).store)


def _trials(store: Store, name: str, all: bool) -> Iterator[tuple[TrialSpec, Result | None]]:
    """The finished trials of the sweep, or `all` of them."""
    for spec in lookup.launch_of(store, name).specs:
        result = store.result(spec.trial_id)
        if result is not None or all:
            yield spec, result


def _history(store: Store, spec: TrialSpec, result: Result | None) -> Sequence[Record]:
    return result.history if result is not None else store.journal(spec.trial_id)


def _row(store: Store, spec: TrialSpec, result: Result | None) -> dict[str, Any]:
    described_now = costs.counts(spec) if described.known(spec) else None
    counts = result.counts if result is not None else described_now
    history = _history(store, spec, result)
    metrics = result.metrics if result is not None else history[-1].metrics if history else {}
    return {
        **metrics,
        "trial_id": spec.trial_id,
        "config_id": spec.config_id,
        "state": store.state(spec).state,
        **dict(spec),
        "options": dict(spec.options),
        **{f"params_{name}": getattr(counts, name, None) for name in COUNTS},
        "seconds": result.seconds if result is not None else None,
        "exact": result.exact if result is not None else None,
    }
