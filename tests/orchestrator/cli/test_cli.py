"""The command line as a whole: its help, its errors, its exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import app, commands, on_cluster
from orchestrator.cli.verbs import ON_CLUSTER, REPEATED, as_called, remember
from orchestrator.errors import UnreachableError


def test_the_help_names_every_verb_and_what_it_does(bnsweep):
    said = bnsweep("--help")
    assert said.code == 0
    for verb, line in app.VERBS.items():
        assert verb in said.out
        assert line[:40] in said.out


@pytest.mark.parametrize("verb", app.VERBS)
def test_the_help_of_each_verb_ends_with_two_real_examples(bnsweep, verb):
    said = bnsweep(verb, "--help")
    assert said.code == 0
    assert "Examples:" in said.out
    examples = [line for line in said.out.splitlines() if line.startswith(f"    bnsweep {verb}")]
    assert len(examples) >= 2


@pytest.mark.parametrize("called", ["./bnsweep", "bnsweep"])
def test_what_to_type_next_is_shown_as_the_caller_types_it(bnsweep, launched, monkeypatch, called):
    monkeypatch.setenv("BNSWEEP_CALLED", called)
    assert f"next: {called} status depth -w" in bnsweep("status", "depth").err.splitlines()
    command = [sys.executable, "-m", "orchestrator.cli", "launch", "--help"]
    help_text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"    {called} launch sweeps/quickstart.yaml" in help_text
    assert bnsweep("report", "width").err.startswith("sweep width: not in ")  # a word, no command


def test_only_commands_are_shown_as_typed(monkeypatch):
    monkeypatch.setenv("BNSWEEP_CALLED", "./bnsweep")
    told = "this bnsweep is old; `bnsweep sync x` (bnsweep gc), pip install bnsweep into"
    assert as_called(told) == told.replace("bnsweep sync", "./bnsweep sync").replace(
        "bnsweep gc", "./bnsweep gc"
    )
    assert as_called("./bnsweep launch") == "./bnsweep launch"


def test_what_to_type_next_repeats_where_the_command_works(
    bnsweep, launched, monkeypatch, tmp_path
):
    there = tmp_path / "my runs"
    there.symlink_to(launched.root)
    monkeypatch.delenv("BNSWEEP_STORE", raising=False)
    said = bnsweep("status", "depth", "--store", there)
    assert f"next: bnsweep status --store '{there}' depth -w" in said.err.splitlines()
    assert (
        f"bnsweep resume --store '{there}' depth"
        in bnsweep("stop", "depth", f"--store={there}").err
    )
    assert bnsweep("status", "width", "--store", there).code == 2
    assert "--store" not in bnsweep("help", "launch").out.partition("Examples")[2]


def test_each_option_that_is_repeated_goes_to_the_verbs_that_have_it():
    try:
        remember(["launch", "s.yaml", "--store", "a b", "--data=d", "--cluster", "http://h:1"])
        assert as_called("bnsweep resume x; bnsweep plan f (bnsweep schema)") == (
            "bnsweep resume --cluster http://h:1 --store 'a b' --data d x; "
            "bnsweep plan --store 'a b' --data d f (bnsweep schema)"
        )
        assert as_called("bnsweep gc", ["--cluster"]) == "bnsweep gc --cluster http://h:1"
    finally:
        remember([])
    for option, verbs in REPEATED.items():
        has = {v for v in app.VERBS for p in _command(v).params if option in p.opts}
        assert verbs == has
    assert REPEATED["--cluster"] == ON_CLUSTER


def _command(verb):
    return on_cluster.offer(verb, app._load(verb))


def test_each_verb_is_a_module_of_its_name_and_each_module_a_verb():
    modules = {path.stem for path in Path(commands.__file__).parent.glob("*.py")}
    assert modules - {"__init__"} == set(app.VERBS)


def test_the_help_loads_no_verb_and_nothing_that_is_slow_to_load():
    slow = {"pydantic", "yaml", "numpy", "pandas", "torch", "ray"}
    modules = loaded_by("--help")
    assert not {name for name in modules if name.startswith("orchestrator.cli.commands")}
    assert not {name.partition(".")[0] for name in modules} & slow


def test_a_plan_needs_neither_torch_nor_ray_nor_mlflow():
    modules = {name.partition(".")[0] for name in loaded_by("plan", "sweeps/quickstart.yaml")}
    assert not modules & {"torch", "ray", "mlflow", "scipy"}


def loaded_by(*arguments):
    """The modules that a fresh Python has after the command line ran."""
    code = (
        "import sys; from orchestrator.cli import app; "
        f"app.run({list(arguments)!r}); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stderr.split())


def test_without_arguments_the_help_is_shown(bnsweep):
    said = bnsweep()
    assert said.code == 0
    assert "Usage: bnsweep" in said.out


MISTAKES = [
    (["plam"], "bnsweep: No such command 'plam'. Did you mean 'plan'?\nsee: bnsweep --help\n"),
    (["plan"], "bnsweep plan: Missing argument 'SWEEP'.\nsee: bnsweep plan --help\n"),
    (["plan", "x", "--foo"], "bnsweep plan: No such option: --foo\nsee: bnsweep plan --help\n"),
    (["plan", "nope.yaml"], "nope.yaml: cannot be read: No such file or directory\n"),
    (
        ["plan", "sweeps/quickstrat.yaml"],
        "sweeps/quickstrat.yaml: cannot be read: No such file or directory; "
        "did you mean sweeps/quickstart.yaml?\n",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_of_the_user_is_said_in_lines_with_exit_code_2(bnsweep, arguments, message):
    said = bnsweep(*arguments)
    assert (said.code, said.out, said.err) == (2, "", message)


def test_a_mistake_in_a_sweep_is_said_as_the_sweep_reader_says_it(bnsweep):
    said = bnsweep("plan", "sweeps/quickstart.yaml", "--set", "depth=13")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("--set depth=13: axes.depth: ")


def test_nothing_is_written_for_a_mistake(bnsweep, tmp_path):
    bnsweep("plan", "sweeps/quickstart.yaml", "--set", "depth=13")
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback_of_a_mistake_too(bnsweep):
    said = bnsweep("plan", "nope.yaml", "--debug")
    assert said.code == 2
    assert "Traceback (most recent call last)" in said.err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UnreachableError("store: away"), 3, "store: away\n"),
        (OSError(28, "No space left on device", "/s/x"), 3, "/s/x: No space left on device\n"),
        (
            ImportError("cannot import name 'spec' from 'trainer'"),
            2,
            "ImportError: cannot import name 'spec' from 'trainer'\nthe installation is not whole, "
            "or another package was installed over it: install bnsweep into a fresh environment\n",
        ),
        (
            KeyError("x"),
            70,
            "KeyError: 'x'\na bug in bnsweep: please report it with the traceback "
            "(the same command with --debug)\n",
        ),
    ],
)
def test_errors_become_lines_and_codes_without_a_traceback(
    bnsweep, monkeypatch, error, code, message
):
    def broken(*_):
        raise error

    monkeypatch.setattr("orchestrator.planning.plan.make", broken)
    said = bnsweep("plan", "sweeps/quickstart.yaml")
    assert (said.code, said.out, said.err) == (code, "", message)


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m orchestrator plan sweeps/quickstart.yaml --json | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
