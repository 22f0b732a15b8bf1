"""Launchers and trackers that installed packages offer by name."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from made_package import installed

from orchestrator import Sweep, launch
from orchestrator.errors import UserError
from orchestrator.store.store import Store

ROOT = Path(__file__).parents[2]
VALUES = {
    "name": "tiny",
    "base": {
        "depth": 8, "dataset": "synthetic", "image_size": 8, "train_subset": 64, "batch_size": 32,
        "lr": 0.01, "epochs": 1, "trainable": "bn_only",
    },
}  # fmt: skip


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The module of an installed package."""
    folder = tmp_path / "site"
    folder.mkdir()
    installed(folder)
    monkeypatch.syspath_prepend(folder)
    yield importlib.import_module("remembers")
    del sys.modules["remembers"]


def test_a_packages_launcher_and_tracker_are_used_by_name(package, tmp_path):
    outcome = launch(Sweep.of(VALUES), store=tmp_path, launcher="remembers", tracker="remembers")
    assert outcome.exit_code == 0
    assert package.MADE[0] == 1
    assert tmp_path in package.MADE
    (run,) = package.TRACKER.runs(package.TRACKER.open("tiny"), Store(tmp_path).identity)
    assert run.status == "FINISHED"
    assert not (tmp_path / "mlflow.db").exists()


def test_the_command_line_uses_them_and_names_them_in_what_to_type_next(package, bnsweep, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(VALUES))
    package.TRACKER.down = True
    names = ("--launcher", "remembers", "--tracker", "remembers")
    said = bnsweep("launch", path, *names, "-y")
    assert said.code == 0, said.err
    assert "remembers lacks 1 trials" in said.err
    assert "bnsweep sync tiny --tracker remembers\n" in said.err
    assert "bnsweep ui" not in said.err
    package.TRACKER.down = False
    assert bnsweep("sync", "tiny", "--tracker", "remembers").code == 0
    audit = bnsweep("audit", "tiny", "--tracker", "remembers")
    assert audit.code == 0, audit.out
    assert bnsweep("resume", "tiny", *names).code == 0
    assert not (tmp_path / "runs" / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("option", "name", "line"),
    [
        ("launcher", "rey", "launcher rey: is not installed; known: inline, ray, remembers"),
        ("tracker", "wand", "tracker wand: is not installed; known: broken, mlflow, remembers"),
        ("tracker", "broken", "tracker broken: remembers:nothing cannot be loaded: AttributeError"),
    ],
)
@pytest.mark.usefixtures("package")
def test_an_unknown_name_is_one_line_and_nothing_is_started(option, name, line, bnsweep, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(VALUES))
    said = bnsweep("launch", path, f"--{option}", name)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith(line)
    with pytest.raises(UserError, match=re.escape(line)):
        launch(Sweep.of(VALUES), store=tmp_path / "runs", **{option: name})
    assert not (tmp_path / "runs").exists()


def test_inline_and_another_launcher_are_a_contradiction(bnsweep, tiny):
    said = bnsweep("launch", tiny, "--inline", "--launcher", "ray")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "--inline: found --launcher ray too" in said.err


@pytest.mark.usefixtures("package")
def test_two_packages_with_one_name_are_refused(tmp_path):
    installed(tmp_path / "site", "forgets")
    with pytest.raises(UserError, match=r"both .* have the name; uninstall one of them"):
        launch(Sweep.of(VALUES), store=tmp_path, launcher="remembers")


def test_the_contract_suite_runs_against_a_packages_tracker(tmp_path):
    installed(tmp_path)
    suite = ROOT / "tests" / "contracts" / "test_tracker.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", suite],
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "BNSWEEP_CONTRACT_TRACKER": "remembers",
            "PYTEST_ADDOPTS": "-k 'point or run or status'",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
