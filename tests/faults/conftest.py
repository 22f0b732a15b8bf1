"""One undisturbed sweep for all faults to be compared with, and a harness for each scenario."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Harness, sweep_text

from orchestrator import settings
from orchestrator.launching.driver import InlineLauncher, launch
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Final digest of every trial of the tiny sweep, trained without any fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    spec = sweep_spec.parse(sweep_text(), "tiny.yaml")
    here = settings.load(store=folder / "runs", data=folder / "data")
    outcome = launch(spec, here, InlineLauncher)
    assert outcome.exit_code == 0
    store = Store(folder / "runs")
    return {s.trial_id: store.result(s.trial_id).digests["final"] for s in spec.trials}


@pytest.fixture
def harness(tmp_path: Path):
    """A scenario's store, sweep and processes, all ended afterwards."""
    found = Harness(tmp_path, sweep_text())
    yield found
    found.close()
