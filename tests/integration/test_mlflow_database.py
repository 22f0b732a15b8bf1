"""The database in the store, made by several real processes at once."""

import subprocess
import sys

import pytest

CONNECTS = """
import sys
from pathlib import Path
from orchestrator import settings
from orchestrator.tracking import mlflow_tracker
mlflow_tracker.connect(settings.load(Path(sys.argv[1]))).open("depth")
"""


@pytest.mark.slow
def test_processes_that_begin_at_once_find_one_whole_database(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    command = [sys.executable, "-c", CONNECTS, tmp_path]
    processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
