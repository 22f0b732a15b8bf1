"""Two real users of this machine and one store: what each may do with what the other has made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.launching import detach

ROOT = Path(__file__).parents[2]
SWEEP = """
name: tiny
base:
  {depth: 8, dataset: synthetic, image_size: 8, train_subset: 64, batch_size: 32, epochs: 1}
axes: {trainable: [all, bn_only]}
seeds: 1
"""
ALICE, BOB, GROUP = (f"bnsweep-{name}{os.getpid()}" for name in ("a", "b", "g"))
SHARED, OWN, PRIVATE = 0o002, 0o022, 0o077
HINT = "; a store that a group shares has setgid folders and is used with umask 002"
LAUNCH = ("launch", "tiny.yaml", "--inline", "-y")
LONG = ("launch", "tiny.yaml", "--inline", "--set", "name=long", "--set", "epochs=100000")
BOTH = ("--set", "trainable=all", "--set", "epochs=1,100000")
A_MOMENT = ("--max-gpu-hours", "0.0003")


@pytest.fixture(scope="module")
def place():
    """A folder that both may enter, with a store of their group and the code."""
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("needs root and useradd, to make two users")
    folder = Path(tempfile.mkdtemp(prefix="two-users-"))
    try:
        subprocess.run(["groupadd", GROUP], check=True)
        for user in (ALICE, BOB):
            subprocess.run(["useradd", "-M", "-N", "-g", GROUP, user], check=True)
        folder.chmod(0o755)
        for package in ("orchestrator", "trainer"):  # where the tests lie they may not look
            shutil.copytree(ROOT / package, folder / "code" / package)
        (folder / "tiny.yaml").write_text(SWEEP)
        yield folder
    finally:
        for command in (["userdel", ALICE], ["userdel", BOB], ["groupdel", GROUP]):
            subprocess.run(command, check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def types(place, request):
    """Types command lines as these users, one after the other; how each ended. The folders of the
    store are the group's, as one of them with umask 002 would make them."""
    store = place / request.node.name
    for folder in (store, store / "sweeps", store / "trials"):
        folder.mkdir()
        shutil.chown(folder, group=GROUP)
        folder.chmod(0o2775)

    def types(*steps):
        typed = [
            {"user": user, "umask": umask, "arguments": [*words, "--store", str(store)]}
            for user, umask, *words in steps
        ]
        for step in typed:
            step["arguments"] = [
                w.replace("tiny.yaml", f"{place}/tiny.yaml") for w in step["arguments"]
            ]
        done = subprocess.run(
            [sys.executable, ROOT / "tests/integration/as_users.py", place, json.dumps(typed)],
            # As in the background: the length of nothing is known, and nobody is asked.
            env={**os.environ, "PYTHONPATH": str(place / "code"), detach.CHILD: "1"},
            capture_output=True,
            text=True,
            timeout=250,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    types.store = store
    return types


def owners(store, name):
    """Who has made each attempt at the trials whose ids contain `name`."""
    starts = sorted(store.glob(f"trials/*{name}*/attempts/*/start.json"))
    return [json.loads(path.read_bytes())["user"] for path in starts]


def test_in_a_store_of_their_group_each_may_go_on_with_what_the_other_began(types):
    done = types(
        (ALICE, SHARED, *LONG, "--set", "trainable=all", *A_MOMENT),
        (BOB, SHARED, "resume", "long", "--inline", *A_MOMENT),
        (ALICE, SHARED, *LAUNCH),
        (BOB, SHARED, *LAUNCH, "--set", "seeds=2"),
        (ALICE, SHARED, "audit"),
        (ALICE, SHARED, "stop", "long"),
        (BOB, SHARED, "discard", "cifar_resnet-d8-w1-bn_only-s0"),
        (BOB, SHARED, "gc", "-y"),
        (ALICE, SHARED, "sync"),
    )
    assert [said["code"] for said in done] == [4, 4, 0, 0, 0, 0, 0, 0, 0], done
    assert "2 of 4 trials to run" in done[3]["err"]
    assert owners(types.store, "s1") == [BOB, BOB]
    assert [ALICE, BOB] in [
        owners(types.store, path.name) for path in types.store.glob("trials/*-all-s0-*")
    ]


def test_what_was_made_with_another_umask_is_read_and_left_alone_and_a_line_says_whose_it_is(types):
    done = types(
        (ALICE, OWN, *LONG, "--set", "trainable=all", *A_MOMENT),
        (BOB, SHARED, "status", "long"),
        (BOB, SHARED, *LAUNCH, "--set", "name=mine", *BOTH),
        (BOB, SHARED, "plan", "tiny.yaml", "--set", "epochs=100000", "--json"),
        (BOB, SHARED, "stop", "long", "--now"),
        (BOB, SHARED, "resume", "long", "--inline", "-q"),
        (BOB, SHARED, "sync", "mine"),
    )
    assert [said["code"] for said in done] == [4, 0, 4, 0, 3, 3, 3], done
    theirs = f"belongs to {ALICE}, and {BOB} may not write there"
    assert "stopped" in done[1]["out"]
    said = done[2]["err"]
    assert f"1 unfinished trials are left alone: the first {theirs}" in said
    assert f"trials ({types.store}/mlflow.db: {theirs})" in said  # what MLflow lacks, and why
    assert "Traceback" not in said
    assert "mine: 1 finished, 1 stopped in " in done[2]["out"]
    trials = json.loads(done[3]["out"])["trials"]
    assert [(trial["runs"], trial["why"]) for trial in trials] == [
        (False, f"stopped: {theirs}"),
        (True, "not trained yet"),
    ]
    sweep = f"{types.store}/sweeps/long"
    assert done[4]["err"] == f"{sweep}: {theirs}{HINT}\n"
    assert done[5]["err"] == f"{sweep}/launches: {theirs}{HINT}; nothing was started\n"
    assert done[6]["err"] == f"{types.store}/mlflow.db: {theirs}\n"
    assert sorted(owners(types.store, "all-s0-")) == [ALICE, BOB]  # one each


def test_what_only_its_owner_may_read_is_a_line(types):
    done = types(
        (ALICE, PRIVATE, *LAUNCH),
        (BOB, SHARED, "status", "tiny"),
        (BOB, SHARED, *LAUNCH, "--set", "name=mine"),
        (ALICE, SHARED, *LAUNCH, "--set", "name=other", "--set", "epochs=2"),
        (BOB, SHARED, "status"),
    )
    theirs = f"belongs to {ALICE}, and {BOB} may not read it{HINT}"
    assert [said["code"] for said in done] == [0, 3, 3, 0, 0], done
    assert done[4]["err"] == f"sweep tiny cannot be read: {types.store}/sweeps/tiny: {theirs}\n"
    assert "other" in done[4]["out"]
    assert done[1]["err"] == f"{types.store}/sweeps/tiny: {theirs}\n"
    assert done[2]["err"].count("\n") == 1
    assert done[2]["err"].endswith(f"{theirs}\n")
