"""The import rules bite: each contract of pyproject.toml breaks on a planted violation."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from itertools import pairwise, permutations
from pathlib import Path

import pytest

from orchestrator.store import folder
from trainer import results

ROOT = Path(__file__).parent.parent

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
LAYERS = [
    [part.strip() for part in layer.split("|")]
    for contract in CONTRACTS
    if contract["type"] == "layers"
    for layer in contract["layers"]
]
"""Highest first; those in one list know nothing of each other."""

NO_TEXT = ("os", "tarfile", "Image", "webbrowser", "tracker", "self", "_tracker", "opener")
"""What has an `open` that opens no text."""

PLANTED = {
    "trainer/planted.py": "import orchestrator\n",
    "trainer/spec.py": "import torch\n",
    "orchestrator/launching/ray_launcher.py": "import orchestrator.tracking.mlflow_tracker\n",
    "orchestrator/store/store.py": "import orchestrator.planning.plan\n",
    "orchestrator/planted.py": "import mlflow\nimport ray\nimport torch\nimport orchestrator.cli\n",
}


def lint_imports(folder: Path, planted: Iterable[tuple[str, str]]) -> str:
    """What lint-imports says of a copy of the code to which each text was added at its path."""
    for name in ("orchestrator", "trainer"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name, text in planted:
        (folder / name).parent.mkdir(exist_ok=True)
        with (folder / name).open("a") as file:
            file.write(text)
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    return done.stdout


def test_each_import_contract_breaks_where_it_is_violated(tmp_path):
    said = lint_imports(tmp_path, PLANTED.items())
    assert f"Contracts: 0 kept, {len(CONTRACTS)} broken." in said


def test_no_layer_may_import_the_one_above_it_or_beside_it(tmp_path):
    forbidden = [
        (low, high) for above, below in pairwise(LAYERS) for low in below for high in above
    ]
    forbidden += [pair for layer in LAYERS for pair in permutations(layer, 2)]
    planted = [
        (
            f"orchestrator/{low}/planted.py"
            if (ROOT / "orchestrator" / low).is_dir()
            else f"orchestrator/{low}.py",
            f"import orchestrator.{high}\n",
        )
        for low, high in forbidden
    ]
    said = lint_imports(tmp_path, planted)
    unnoticed = [
        (low, high)
        for low, high in forbidden
        if f"orchestrator.{low} is not allowed to import orchestrator.{high}:" not in said
    ]
    assert len(forbidden) > len(LAYERS)
    assert unnoticed == []


def test_architecture_draws_the_layers_as_they_are():
    text = (ROOT / "ARCHITECTURE.md").read_text().split("stand in layers:\n\n")[1]
    lines = text.split("\n\n")[0].splitlines()
    drawn = [re.split(r"  +", line.strip()) for line in lines]
    assert [cells[: len(layer)] for cells, layer in zip(drawn, LAYERS, strict=True)] == LAYERS


def test_a_new_folder_must_be_given_its_layer(tmp_path):
    assert "orchestrator.unplaced" in lint_imports(
        tmp_path, [("orchestrator/unplaced/__init__.py", "")]
    )


def test_whatever_the_orchestrator_takes_from_the_trainer_is_held_to_load_no_torch():
    without_torch = [c for c in CONTRACTS if "torch" in c.get("forbidden_modules", ())]
    listed = {module for contract in without_torch for module in contract["source_modules"]}
    excepted = {
        edge.partition(" -> ")[2]  # loaded by the function that a worker runs
        for contract in without_torch
        for edge in contract.get("ignore_imports", ())
    }
    imported = {
        module
        for path in (ROOT / "orchestrator").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for module in trainer_modules(node)
    }
    assert {"trainer.spec", "trainer.results"} <= imported
    assert imported - excepted - listed == set()


def trainer_modules(node: ast.AST) -> Iterator[str]:
    """The modules of the trainer that an import statement names."""
    match node:
        case ast.Import(names=names):
            named = [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names):
            inner = [f"{module}.{alias.name}" for alias in names]
            named = [name if is_module(name) else module for name in inner]
        case _:
            named = []
    yield from (name for name in named if name.startswith("trainer."))


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


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
        ("orchestrator/cli/commands/plan.py", True),
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


def calls_without_encoding(source):
    """Lines of calls that read or write text in whatever encoding the locale has."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        value = getattr(node.func, "value", None)
        owner = getattr(value, "attr", getattr(value, "id", ""))
        given = {keyword.arg for keyword in node.keywords}
        words = [a.value for a in node.args if isinstance(a, ast.Constant)]
        mode = next((w for w in words if isinstance(w, str) and set(w) <= set("rwaxb+t")), "r")
        opens = name in ("read_text", "write_text") or (
            name in ("open", "fdopen") and owner not in NO_TEXT and "b" not in mode
        )
        if (opens or "universal_newlines" in given or _is_text(node)) and "encoding" not in given:
            yield node.lineno


def _is_text(call):
    return any(k.arg == "text" and getattr(k.value, "value", None) is True for k in call.keywords)


def test_every_text_file_and_pipe_has_its_encoding_spelled_out():
    """The locale's may be ASCII; ruff's rule for this does not see a Path behind a name."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in ("orchestrator", "trainer")
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in calls_without_encoding(path.read_text(encoding="utf-8"))
    ]
    assert found == []
    planted = "p.read_text(); p.open('a'); open('x'); run(c, text=True)\np.open('rb')"
    assert list(calls_without_encoding(planted)) == [1, 1, 1, 1]
