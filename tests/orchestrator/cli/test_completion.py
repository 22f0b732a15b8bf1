"""What the shell offers after Tab, as bash, zsh and fish ask for it."""

import subprocess
import sys

import pytest
from made_store import FINISHED

from orchestrator.cli import completion


def test_sweep_files_and_folders_that_begin_with_what_was_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "depth.yaml").touch()
    (tmp_path / "sweeps" / "notes.txt").touch()
    assert completion.sweep_files("sw") == ["sweeps/"]
    assert completion.sweep_files("sweeps/") == ["sweeps/depth.yaml"]
    assert completion.sweep_files("sweeps/n") == []


def test_names_and_trial_ids_come_from_the_store(launched, monkeypatch):
    monkeypatch.setenv("BNSWEEP_STORE", str(launched.root))
    assert completion.sweep_names("de") == ["depth"]
    assert completion.sweep_names("x") == []
    assert FINISHED.trial_id in completion.trial_ids("cifar_resnet-d14")


def test_an_empty_store_completes_to_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("BNSWEEP_STORE", str(tmp_path / "nowhere"))
    assert completion.sweep_names("") == []


ASKED = {
    "bash": {"COMP_WORDS": "bnsweep status de", "COMP_CWORD": "2"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "bnsweep status de"},
    "fish": {
        "_TYPER_COMPLETE_ARGS": "bnsweep status de",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    },
}


@pytest.mark.parametrize("shell", ASKED)
def test_each_shell_gets_the_names(launched, monkeypatch, shell):
    monkeypatch.setenv("BNSWEEP_STORE", str(launched.root))
    monkeypatch.setenv("_BNSWEEP_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "bnsweep status de")
    for name, value in ASKED[shell].items():
        monkeypatch.setenv(name, value)
    asked = subprocess.run(
        [sys.executable, "-m", "orchestrator"], capture_output=True, text=True, timeout=60
    )
    assert "depth" in asked.stdout


def test_the_verbs_complete_too(monkeypatch):
    monkeypatch.setenv("_BNSWEEP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "bnsweep l")
    monkeypatch.setenv("COMP_CWORD", "1")
    asked = subprocess.run(
        [sys.executable, "-m", "orchestrator"], capture_output=True, text=True, timeout=60
    )
    assert asked.stdout.split() == ["launch", "logs"]
