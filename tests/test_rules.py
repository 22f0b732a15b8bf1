"""The import rules bite: each contract of pyproject.toml breaks on a planted violation."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

PLANTED = {
    "trainer/planted.py": "import orchestrator\n",
    "trainer/spec.py": "import torch\n",
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
