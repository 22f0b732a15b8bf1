"""The import rules bite: each contract of pyproject.toml breaks on a planted violation."""

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from orchestrator.store import folder
from trainer import results

ROOT = Path(__file__).parent.parent

PLANTED = {
    "trainer/planted.py": "import orchestrator\n",
    "trainer/spec.py": "import torch\n",
    "orchestrator/launching/ray_launcher.py": "import orchestrator.tracking.mlflow_tracker\n",
    "orchestrator/store/store.py": "import orchestrator.planning.plan\n",
    "orchestrator/planted.py": "import mlflow\nimport ray\nimport torch\nimport orchestrator.cli\n",
}


def test_each_import_contract_breaks_where_it_is_violated(tmp_path):
    for name in ("orchestrator", "trainer"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, text in PLANTED.items():
        with (tmp_path / name).open("a") as file:
            file.write(text)
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    assert done.returncode == 1
    assert f"Contracts: 0 kept, {len(contracts)} broken." in done.stdout


def test_file_names_in_a_trials_folder_are_spelled_in_one_place():
    place_of = {
        value: Path(module.__file__)
        for module in (results, folder)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str) and "." in value
    }
    assert {"result.json", "journal.jsonl", "checkpoint.pt", "start.json"} <= place_of.keys()
    spelled = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}"
        for package in ("orchestrator", "trainer")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and place_of.get(node.value, path) != path
    ]
    assert spelled == []


PLANTED_CODE = {
    "print": "print(1)",
    "sys.exit": "import sys\n\nsys.exit(1)",
}


@pytest.mark.parametrize("what", PLANTED_CODE)
def test_only_the_command_line_prints_or_exits(what):
    for path, fine in (
        ("orchestrator/planning/plan.py", False),
        ("orchestrator/cli/commands/planning.py", True),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--stdin-filename", path, "-"],
            input=PLANTED_CODE[what] + "\n",
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode == 0) == fine, done.stdout
