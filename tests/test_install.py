"""What a user installs: the wheel in an empty folder, and `./bnsweep` with the `.venv` it makes."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FAKE_PYTHON = """#!/bin/sh
# Stands for a Python: makes environments that hold this script again, and notes each call.
echo "$*" >> "{notes}"
case "$*" in
    *version_info\\[1\\]*) echo python3.12-venv ;;
    *ensurepip*) exit {no_venv} ;;
    *fcntl*) exec "{real}" "$@" ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *"pip "*) [ ! -f "{fails}" ] || {{ echo "No matching distribution"; exit 1; }} ;;
    *orchestrator.cli*) shift 3; echo "ran: $*" ;;
esac
"""


def run(command, **more):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, **more
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a clean copy of the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("orchestrator", "trainer"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    built = run([*pip, "--wheel-dir", source / "dist", source])
    assert built.returncode == 0, built.stderr
    return next((source / "dist").glob("*.whl"))


def test_the_wheel_holds_our_two_packages_with_their_data_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {
        "orchestrator",
        "trainer",
        next(name.partition("/")[0] for name in names if ".dist-info/" in name),
    }
    assert "orchestrator/reporting/paper_results.csv" in names
    assert "trainer/kernels/bn_relu.cpp" in names
    assert "orchestrator/cli/AGENTS.md" in names
    assert not any("test" in name for name in names)


def test_the_wheel_says_its_licence_and_has_it(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    assert "License-Expression: MIT" in archive.read(metadata).decode().splitlines()
    kept = archive.read(metadata.replace("METADATA", "licenses/LICENSE"))
    assert kept == (ROOT / "LICENSE").read_bytes()


def test_the_installed_wheel_plans_a_sweep_far_from_the_sources(wheel, tmp_path):
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target]
    assert run([*pip, wheel]).returncode == 0
    environment = {**os.environ, "PYTHONPATH": str(target)}
    where = run(
        [sys.executable, "-c", "import orchestrator; print(orchestrator.__file__)"],
        cwd=tmp_path,
        env=environment,
    )
    assert where.stdout.startswith(str(target))
    bnsweep = target / "bin" / "bnsweep"
    assert "Usage: bnsweep" in run([bnsweep, "--help"], cwd=tmp_path, env=environment).stdout
    assert run([bnsweep, "init", "first.yaml"], cwd=tmp_path, env=environment).returncode == 0
    agents = run([bnsweep, "help", "agents"], cwd=tmp_path, env=environment)
    assert agents.stdout == (ROOT / "AGENTS.md").read_text()
    planned = run([bnsweep, "plan", "first.yaml"], cwd=tmp_path, env=environment)
    assert "first: 8 of 8 trials to run" in planned.stdout


class Checkout:
    """A copy of the checkout's installer with a stand-in for Python."""

    def __init__(self, folder):
        self.folder, self.notes = folder / "a checkout", folder / "notes"
        self.fails, self.python = folder / "fails", folder / "a python"
        self.folder.mkdir()
        for name in ("bnsweep", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.folder)
        self.stand_in()

    def stand_in(self, no_venv=0):
        names = {"notes": self.notes, "fails": self.fails, "real": sys.executable}
        self.python.write_text(FAKE_PYTHON.format(no_venv=no_venv, **names))
        self.python.chmod(0o755)

    def __call__(self, *arguments, **environment):
        mine = {**os.environ, "BNSWEEP_PYTHON": str(self.python), "BNSWEEP_EXTRAS": ""}
        command = [self.folder / "bnsweep", *arguments]
        return run(command, cwd="/", env={**mine, **environment})

    def calls(self, word):
        """The noted calls with the word, and forget all."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return [line for line in lines if word in line]


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_the_first_call_installs_pinned_versions_and_the_later_ones_only_run(checkout):
    first = checkout("plan", "my sweep.yaml")
    assert (first.returncode, first.stdout) == (0, "ran: plan my sweep.yaml\n")
    assert "installing into .venv" in first.stderr
    (install,) = checkout.calls("pip ")
    assert f"-c {checkout.folder}/constraints.txt -e {checkout.folder}" in install
    second = checkout("status")
    assert (second.stdout, second.stderr) == ("ran: status\n", "")
    assert checkout.calls("pip ") == []


def test_a_half_finished_install_is_made_anew(checkout):
    checkout.fails.touch()
    failed = checkout("status")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "No matching distribution" in failed.stderr
    assert "the next call starts it again" in failed.stderr
    (checkout.folder / ".venv" / "left-over").touch()
    checkout.fails.unlink()
    assert checkout("status").stdout == "ran: status\n"
    assert not (checkout.folder / ".venv" / "left-over").exists()


def test_changed_pins_are_installed_into_what_is_there(checkout):
    checkout("status")
    (checkout.folder / ".venv" / "kept").touch()
    checkout.calls("")
    with (checkout.folder / "constraints.txt").open("a") as file:
        file.write("something==1\n")
    assert checkout("status").stdout == "ran: status\n"
    assert len(checkout.calls("pip ")) == 1
    assert (checkout.folder / ".venv" / "kept").exists()


def test_extras_are_added_on_request_and_kept_afterwards(checkout):
    checkout("status")
    checkout.calls("")
    checkout("status", BNSWEEP_EXTRAS="dev")
    assert checkout.calls("pip ")[0].endswith(f"-e {checkout.folder}[dev]")
    checkout("status")
    assert checkout.calls("pip ") == []


def test_a_python_without_venv_says_what_to_install(checkout):
    checkout.stand_in(no_venv=1)
    said = checkout("status")
    assert said.returncode == 2
    assert "install python3.12-venv (Debian, Ubuntu: apt install python3.12-venv)" in said.stderr
    assert not (checkout.folder / ".venv").exists()


def test_a_python_that_is_none_is_said(checkout):
    said = checkout("status", BNSWEEP_PYTHON="/bin/false")
    assert said.returncode == 2
    assert said.stderr == ("bnsweep: BNSWEEP_PYTHON: /bin/false is not a Python 3.11 to 3.14\n")


def test_a_checkout_that_cannot_be_written_says_what_to_do(checkout):
    (checkout.folder / ".venv.lock").mkdir()
    failed = checkout("--version")
    assert failed.returncode == 2
    assert "cannot be written" in failed.stderr
    assert "a checkout of your own" in failed.stderr.replace("\n", " ")
    assert "Permission denied" not in failed.stderr


def test_two_first_calls_install_once(checkout):
    command = f"'{checkout.folder}/bnsweep' a & '{checkout.folder}/bnsweep' b & wait"
    environment = {**os.environ, "BNSWEEP_PYTHON": str(checkout.python), "BNSWEEP_EXTRAS": ""}
    both = run(["sh", "-c", command], env=environment)
    assert sorted(both.stdout.splitlines()) == ["ran: a", "ran: b"]
    assert len(checkout.calls("pip ")) == 1


def test_the_script_works_through_a_link_from_anywhere(checkout, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(checkout.folder / "bnsweep")
    environment = {**os.environ, "BNSWEEP_PYTHON": str(checkout.python), "BNSWEEP_EXTRAS": ""}
    assert run([link, "status"], cwd=tmp_path, env=environment).stdout == "ran: status\n"


def test_the_pins_are_names_and_versions_only():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        assert name.replace("-", "").replace("_", "").replace(".", "").isalnum(), line
        assert version.replace(".", "").replace("post", "").isalnum(), line
        assert "+" not in version
        assert not name.lower().startswith(("nvidia", "triton", "cuda"))
