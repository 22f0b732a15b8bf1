"""What an attacker, or a careless neighbour, could try (the containers are in tests/docker)."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import BnsweepError, SweepError
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec
from trainer import results
from trainer.spec import TrialSpec

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("orchestrator/**/*.py"), *ROOT.glob("trainer/**/*.py")])

LISTENING = """
import json, os, sys
from pathlib import Path
from orchestrator.launching.ray_launcher import RayLauncher
from orchestrator.sweep.resources import Resources
import psutil, ray
launcher = RayLauncher(Resources())
launcher._connect({})
mine = [psutil.Process(), *psutil.Process().children(recursive=True)]
found = [
    (connection.laddr.ip, process.name())
    for process in mine
    for connection in process.net_connections("inet")
    if connection.status == "LISTEN"
]
token = os.environ["RAY_AUTH_TOKEN"]
shown = [process.pid for process in mine if token in " ".join(process.cmdline())]
folder = Path(ray._private.worker._global_node.get_session_dir_path())
open_to_others = all(parent.stat().st_mode & 0o077 for parent in folder.parents)
print(json.dumps({
    "listening": found, "mode": os.environ["RAY_AUTH_MODE"], "shown": shown,
    "open_to_others": open_to_others,
}))
ray.shutdown()
launcher._folder.close()
"""


def bnsweep(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )


# -- who can reach us --------------------------------------------------------------------------


def test_a_ray_of_our_own_listens_on_loopback_and_wants_a_token(alone):
    said = alone(LISTENING)
    assert said["listening"]
    assert {address for address, _ in said["listening"]} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert said["mode"] == "token"
    assert said["shown"] == []  # the token is in no process's command line
    assert not said["open_to_others"]  # nobody else reaches its sockets and logs


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_the_source_loads_no_pickle_and_no_unsafe_yaml_and_starts_no_shell(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert name not in ("pickle.load", "pickle.loads", "eval", "exec", "os.system"), name
        if path.name != "on_finish.py":  # which runs what the user has typed, as a shell does
            assert given.get("shell") in (None, "False"), f"{name} starts a shell"
        assert given.get("allow_pickle") in (None, "False"), f"{name} loads pickles"
        if name == "torch.load":
            assert given.get("weights_only") == "True"
        if name.startswith("yaml.") and name.endswith(("load", "load_all", "compose")):
            assert "Safe" in given.get("Loader", "") or "safe" in name, name
        if name.endswith((".bind", ".serve")):
            assert "0.0.0.0" not in ast.unparse(node)


# -- what lies in a store ------------------------------------------------------------------------


class Planted:
    """Unpickled, it leaves a file behind: code of the attacker's ran."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_a_pickle_planted_as_a_checkpoint_is_never_run(tmp_path):
    import torch

    from trainer import checkpoint

    trace = tmp_path / "it-ran"
    spec = TrialSpec(model="cifar_resnet", dataset="digits", depth=8)
    for name in (results.CHECKPOINT, results.CHECKPOINT_PREVIOUS):
        torch.save({"model": Planted(trace)}, tmp_path / name)
    assert checkpoint.find([tmp_path], spec) is None
    for name in (results.CHECKPOINT, results.CHECKPOINT_PREVIOUS):
        (tmp_path / name).write_bytes(pickle.dumps(Planted(trace)))
    assert checkpoint.find([tmp_path], spec) is None
    assert not trace.exists()


@pytest.mark.parametrize(
    "line",
    [
        "description: !!python/object/apply:os.system ['touch it-ran']",
        "description: !!python/name:os.system",
        "base: !!python/object/new:pathlib.Path ['it-ran']",
    ],
)
def test_yaml_of_a_sweep_file_cannot_make_objects(tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(f"name: a\nrecipe: digits\n{line}\n")
    with pytest.raises(SweepError):
        sweep_spec.load(Path("a.yaml"))
    assert not Path("it-ran").exists()


# -- names that become paths ---------------------------------------------------------------------

OUTSIDE = ["../outside", "..", "a/../../outside", "/etc", "a\x00b", "."]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leads_out_of_the_store(tmp_path, name):
    store = Store(tmp_path / "runs")
    with pytest.raises(BnsweepError):
        store.sweep_folder(name)
    with pytest.raises(BnsweepError):
        store.trial_folder(name)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a b", ".hidden"])
def test_a_sweeps_name_is_a_name(tmp_path, name):
    path = tmp_path / "a.yaml"
    path.write_text(f"name: {json.dumps(name)}\nrecipe: digits\n")
    with pytest.raises(SweepError, match="name"):
        sweep_spec.load(path)


@pytest.mark.parametrize("verb", ["show", "logs", "discard"])
def test_a_verb_given_a_path_as_a_trial_touches_nothing_outside(tmp_path, verb):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    Store(tmp_path / "runs").open_for_writing()
    done = bnsweep(verb, "../../outside", cwd=tmp_path)
    assert done.returncode == 2
    assert (outside / "precious").read_text() == "kept"


# -- secrets -------------------------------------------------------------------------------------


def test_the_trackers_password_reaches_neither_output_nor_store(tmp_path):
    """Nothing listens at that address: also the errors about it are free of the password."""
    (tmp_path / "a.yaml").write_text("name: a\nrecipe: digits\nbase: {depth: 8, epochs: 1}\n")
    environment = {
        "MLFLOW_TRACKING_URI": "http://me:hunter2-uri@127.0.0.1:9",
        "MLFLOW_TRACKING_USERNAME": "me",
        "MLFLOW_TRACKING_PASSWORD": "hunter2-password",
    }
    said = ""
    for arguments in (
        ["launch", "a.yaml", "--set", "train_subset=32", "--inline", "--yes"],
        ["sync", "a"],
        ["audit", "a"],
        ["sync", "a", "--debug"],
    ):
        done = bnsweep(*arguments, cwd=tmp_path, **environment)
        said += done.stdout + done.stderr
    assert "127.0.0.1:9" in said
    assert "hunter2" not in said
    stored = [p for p in (tmp_path / "runs").rglob("*") if p.is_file()]
    assert len(stored) > 5
    assert not [p for p in stored if b"hunter2" in p.read_bytes()]
