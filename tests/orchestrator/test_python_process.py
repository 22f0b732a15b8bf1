"""A module that is asked in a process of its own: its answer, or one line that says why not."""

import pathlib
import sys
import time

import pytest

from orchestrator import python_process
from orchestrator.errors import UserError


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes a module with this program; returns its name."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(program):
        (tmp_path / "asked.py").write_text(program)
        return "asked"

    return make


def test_the_answer_is_the_last_line_whatever_a_library_prints_before(module):
    echo = "json.dumps([sys.argv[1:], json.load(sys.stdin)])"
    program = module(f"import json, sys\nprint('chatter')\nprint({echo})")
    answer = python_process.ask(program, "look", 1, given={"a": [1]})
    assert answer == [["look", "1"], {"a": [1]}]


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("raise RuntimeError('no such device')", "RuntimeError: no such device"),
        ("import sys\nsys.exit('a line of its own')", "a line of its own"),
        ("print('only said here')\nraise SystemExit(3)", "only said here"),
        ("raise SystemExit(3)", "no output"),
    ],
)
def test_a_module_that_fails_is_an_error_of_one_line(module, program, line):
    with pytest.raises(UserError) as error:
        python_process.run(module(program))
    assert error.value.lines == (line,)


def test_a_module_that_does_not_answer_is_given_up(module):
    with pytest.raises(UserError, match="no answer within 1 s"):
        python_process.run(module("import time\ntime.sleep(60)"), timeout_s=1)


def test_variables_are_given_where_ours_does_not_have_them(module, monkeypatch):
    monkeypatch.setenv("OURS", "kept")
    program = module("import json, os\nprint(json.dumps([os.environ['OURS'], os.environ['NEW']]))")
    answer = python_process.ask(program, environment={"OURS": "other", "NEW": "given"})
    assert answer == ["kept", "given"]


def test_a_package_of_that_name_in_the_current_folder_is_not_taken(tmp_path, monkeypatch):
    (tmp_path / "trainer.py").write_text("print('foreign')")
    monkeypatch.chdir(tmp_path)
    assert set(python_process.ask("trainer", "devices")) == {"gpus", "kernel_problem"}
    assert "trainer" not in sys.modules or sys.modules["trainer"].PROJECT == "bnsweep"


def test_what_a_module_started_ends_with_it_when_it_is_given_up(module, tmp_path):
    child = "import time; time.sleep(60)"
    program = f"""
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}])
pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
time.sleep(60)
"""
    begun = time.monotonic()
    with pytest.raises(UserError, match="no answer within 3 s"):
        python_process.run(module(program), timeout_s=3)
    assert time.monotonic() - begun < 30  # the child has our pipes, too
    child = pathlib.Path("/proc", (tmp_path / "pid").read_text(), "stat")
    while time.monotonic() - begun < 30 and _alive(child):
        time.sleep(0.1)
    assert not _alive(child)


def _alive(stat):
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
