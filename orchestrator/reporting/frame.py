"""Results as a pandas frame, for notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator import settings
from orchestrator.errors import UserError
from orchestrator.store.store import Store
from trainer.spec import TrialSpec


def results(name: str, *, store: Path | str | None = None) -> pd.DataFrame:
    """A row for each trial of the sweep's newest launch, whatever its state.

    Columns: trial_id, config_id, state, every field of the spec, then the last metrics
    (`test/accuracy` in %, …), seconds and exact. Raises UserError for an unknown sweep.
    """
    opened = Store(settings.load(Path(store) if store else None).store)
    launch = opened.newest_launch(name)
    if launch is None:
        raise UserError(f"sweep {name}: not in {opened.root}; there: {', '.join(opened.sweeps())}")
    return pd.DataFrame([_row(opened, spec) for spec in launch.specs])


def _row(store: Store, spec: TrialSpec) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial_id": spec.trial_id,
        "config_id": spec.config_id,
        "state": store.state(spec).state,
        **dict(spec),
    }
    result = store.result(spec.trial_id)
    if result is not None:
        return {**row, **result.metrics, "seconds": result.seconds, "exact": result.exact}
    records = store.journal(spec.trial_id)
    return {**row, **(records[-1].metrics if records else {})}
