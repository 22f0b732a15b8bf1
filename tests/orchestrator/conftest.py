"""The command line in this process, and stores without training."""

from __future__ import annotations

import dataclasses

import pytest
from made_store import launch_depth

from orchestrator.cli.app import run
from orchestrator.store.store import Store

TINY = """
name: tiny
base:
  {depth: 8, dataset: synthetic, image_size: 8, train_subset: 64, batch_size: 32, lr: 0.01}
axes: {trainable: [all, bn_only]}
seeds: 1
"""


@dataclasses.dataclass
class Said:
    """What a command line printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def bnsweep(tmp_path, monkeypatch, capfd):
    """Runs a command line in this process, its store in an empty folder."""
    theirs = ("BNSWEEP_DATA", "BNSWEEP_DEBUG", "BNSWEEP_CALLED", "COLUMNS")
    for name in ("MLFLOW_TRACKING_URI", *theirs):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BNSWEEP_STORE", str(tmp_path / "runs"))

    def bnsweep(*arguments) -> Said:
        capfd.readouterr()
        code = run([str(a) for a in arguments])
        return Said(code, *capfd.readouterr())

    return bnsweep


@pytest.fixture
def store(tmp_path):
    """An empty store, where `bnsweep` looks."""
    store = Store(tmp_path / "runs")
    store.open_for_writing()
    return store


@pytest.fixture
def launched(store):
    """A sweep `depth` with a finished trial, a failed, a running and a pending one."""
    return launch_depth(store)


@pytest.fixture
def tiny(tmp_path, empty_mlflow_database):
    """A sweep file of two short trials; the store has MLflow's tables already."""
    store = tmp_path / "runs"
    store.mkdir()
    (store / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path
