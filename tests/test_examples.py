"""The examples of code of one's own run as their README says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SWEEPS = sorted((ROOT / "examples").glob("*/*.yaml"))
TRIALS = {"groupnorm": 6, "own_data": 4, "tiny": 6}


@pytest.mark.parametrize("name", TRIALS)
def test_an_example_runs_and_finishes_all_its_trials(name, tmp_path, empty_mlflow_database):
    folder = tmp_path / "examples" / name
    shutil.copytree(ROOT / "examples" / name, folder)
    store = tmp_path / "runs"
    store.mkdir()
    shutil.copy(empty_mlflow_database, store / "mlflow.db")
    for script in folder.glob("make_*.py"):
        subprocess.run([sys.executable, script, tmp_path / "data"], check=True, timeout=60)
    places = ("--store", store, "--data", tmp_path / "data")
    command = ("launch", folder / f"{name}.yaml", "--inline", "-q", "-y", *places)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "orchestrator.cli", *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    results = list((store / "trials").glob("*/result.json"))
    assert len(results) == TRIALS[name]


def test_each_example_is_tested_and_in_the_readme():
    assert {path.stem for path in SWEEPS} == TRIALS.keys()
    readme = (ROOT / "examples" / "README.md").read_text()
    for path in SWEEPS:
        assert f"({path.parent.name}/{path.name})" in readme
