"""What the README shows works: its Python runs, its files exist, its verbs are verbs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.cli.app import VERBS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_python_example_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    example = README.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("BNSWEEP_STORE", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    exec(compile(example, "README.md", "exec"), {"__name__": "example"})
    printed = capsys.readouterr().out
    assert "trials to run" in printed
    assert "bn_only" in printed


@pytest.mark.parametrize("name", ["mine.py", "tiny.yaml"])
def test_the_first_example_of_own_code_is_shown_whole(name):
    language = {"py": "python", "yaml": "yaml"}[name.rpartition(".")[2]]
    text = (ROOT / "examples" / "tiny" / name).read_text()
    assert f"```{language}\n{text}```" in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([a-zA-Z][^):#]*)\)", README))))
def test_every_file_that_is_linked_exists(target):
    assert (ROOT / target).is_file()


def test_every_verb_that_is_named_is_a_verb():
    named = set(re.findall(r"`?(?:\./)?bnsweep ([a-z]+)", README))
    assert named - set(VERBS) == set()
    assert {"launch", "resume", "stop", "sync", "audit", "report", "ui", "doctor"} <= named
