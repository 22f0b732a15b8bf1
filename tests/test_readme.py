"""What the README and the pages of docs/ show works: Python runs, files exist, verbs are verbs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.cli.app import VERBS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXTENDING = (ROOT / "docs" / "extending.md").read_text()
LINKS = sorted(
    {
        (page.relative_to(ROOT).as_posix(), target)
        for page in PAGES
        for target in re.findall(r"\]\(([a-zA-Z.][^):#]*)\)", page.read_text())
    }
)


def test_the_python_example_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    section = EXTENDING.split("\n## From Python\n")[1]
    example = section.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("BNSWEEP_STORE", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    exec(compile(example, "extending.md", "exec"), {"__name__": "example"})
    printed = capsys.readouterr().out
    assert "trials to run" in printed
    assert "bn_only" in printed


@pytest.mark.parametrize("name", ["mine.py", "tiny.yaml"])
def test_the_first_example_of_own_code_is_shown_whole(name):
    language = {"py": "python", "yaml": "yaml"}[name.rpartition(".")[2]]
    text = (ROOT / "examples" / "tiny" / name).read_text()
    assert f"```{language}\n{text}```" in EXTENDING


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_every_file_that_is_linked_exists(page, target):
    assert (ROOT / page).parent.joinpath(target).is_file()


def test_every_page_is_linked_from_the_readme():
    linked = {target for page, target in LINKS if page == "README.md"}
    assert {page.relative_to(ROOT).as_posix() for page in PAGES[1:]} - linked == set()


def in_code(page):
    """Its code blocks and what stands in backticks: elsewhere `bnsweep` begins a sentence."""
    return "\n".join(re.findall(r"^```.*?^```|^ {4}.*?$|`[^`]+`", page, re.M | re.S))


def test_every_verb_that_is_named_is_a_verb():
    named = set()
    for page in PAGES:
        named |= set(re.findall(r"`?(?:\./)?bnsweep ([a-z]+)", in_code(page.read_text())))
    assert named - set(VERBS) == set()
    assert {"launch", "resume", "stop", "sync", "audit", "report", "ui", "doctor"} <= named
