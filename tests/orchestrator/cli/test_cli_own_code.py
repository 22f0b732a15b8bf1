"""A sweep with the user's own code from the command line: asked, kept, trained, never loaded."""

import json
import re
import shutil
from pathlib import Path

import pytest
from made_code import BASE, MINE, written

from orchestrator import Sweep, results
from orchestrator import launch as launch_here
from orchestrator.errors import UserError
from orchestrator.planning import described
from orchestrator.store.store import Store
from orchestrator.sweep import descriptions
from orchestrator.tracking.memory_tracker import MemoryTracker

AXES = BASE + "axes: {trainable: [all, stem_only]}\n"


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory):
    """One for this file: most tests have the same code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(descriptions, "TIMEOUT_S", 280.0)  # a busy machine loads torch in a minute
        yield


@pytest.fixture
def train(tmp_path):
    """Trains a sweep in this process, its store where `bnsweep` looks; returns the store."""

    def train(path):
        store = tmp_path / "runs"
        outcome = launch_here(Sweep.load(path), store=store, inline=True, tracker=MemoryTracker())
        assert outcome.exit_code == 0
        return Store(store)

    return train


def test_a_plan_has_the_counts_that_the_trainer_describes(bnsweep, tmp_path):
    path = written(tmp_path, AXES.replace("{model", "{options: {filters: 4}, model"))
    rows = json.loads(bnsweep("plan", path, "--json").out)["trials"]
    total = 4 * 3 * 9 + 4 * 2 + 4 * 10 + 10
    assert [(row["params_total"], row["params_trainable"]) for row in rows] == [
        (total, total),
        (total, 4 * 3 * 9),
    ]
    assert rows[0]["options"] == {"filters": 4}
    assert rows[0]["flops_per_image"] == 2 * (4 * 3 * 9 * 8 * 8 + 4 * 10)
    assert rows[0]["memory_bytes"] > rows[1]["memory_bytes"] > 0
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (
            "bn1(self.conv1(images), relu=True).mean((2, 3)))",
            "conv1(images))",
            r"gives \(2, 8, 8, 10\) for 2",
        ),
        ("self.fc(self", "self.fc(float('nan') * self", "first logits are not finite"),
        ("return role", "raise KeyError(role.kind)\n    return role", "mine.py:21: KeyError"),
    ],
)
def test_a_mistake_in_the_code_is_a_line_and_nothing_is_started(
    before, after, line, bnsweep, tmp_path
):
    assert before in MINE
    path = written(
        tmp_path, BASE.replace("{", "{trainable: stem_only, "), MINE.replace(before, after)
    )
    said = bnsweep("launch", path)
    assert said.code == 2
    (shown,) = said.err.splitlines()
    assert shown.startswith(f"{path}:2: code: mine.py")
    assert re.search(line, shown), shown
    assert not (tmp_path / "runs").exists()


def test_the_traceback_in_the_code_is_an_option_away(bnsweep, tmp_path):
    code = MINE.replace("return role", "raise KeyError(role.kind)\n    return role")
    base = BASE.replace("{", "{trainable: stem_only, ")
    said = bnsweep("plan", written(tmp_path, base, code), "--debug")
    assert "in stem_only" in said.err
    assert said.err.splitlines()[-1].endswith("mine.py:21: KeyError: 'conv_weight'")


def test_a_data_set_that_does_not_hold_what_it_says_is_a_line_before_a_launch(bnsweep, tmp_path):
    code = MINE.replace("% 2", "% 7")
    path = written(tmp_path, BASE.replace("digits", "squares"), code)
    said = bnsweep("launch", path, "--inline", "-y")
    assert said.code == 2
    assert "mine.yaml:2: code: " in said.err
    assert "labels from 0 to 6" in said.err
    assert not (tmp_path / "runs" / "trials").exists()


WRITES = {
    "when it is imported": ('"""A network', "open({store!r} + '/x', 'w')\n", "x"),
    "in its network": ("        super().__init__()", "import os; os.mkdir({store!r} + '/y')", "y"),
    "in its data set": (
        "    import torch\n",
        "    open({store!r} + '/trials/z', 'wb')\n",
        "trials/z",
    ),
}


@pytest.mark.parametrize("when", WRITES)
def test_code_that_writes_into_the_store_is_a_line_and_nothing_is_written(
    when, bnsweep, store, tmp_path
):
    before, statement, name = WRITES[when]
    statement = statement.format(store=str(store.root))
    if when == "in its network":
        statement = f"{before}; {statement}"
    code = MINE.replace(before, statement + ("" if "network" in when else before), 1)
    path = written(tmp_path, BASE.replace("digits", "squares"), code)
    said = bnsweep("launch", path, "--inline", "-y")
    assert said.code == 2
    (line,) = [line for line in said.err.splitlines() if "mine.yaml:2" in line]
    place = f"mine.py:{code[: code.index(str(store.root))].count(chr(10)) + 1}"
    assert f"code: {place}: PermissionError: writes {store.root / name}, which is in" in line
    assert not (store.root / name).exists()
    assert not list((store.root / "trials").iterdir())


def test_code_is_described_in_an_empty_folder_that_goes_away_and_is_told_no_store(
    bnsweep, tmp_path
):
    look = "import os\nassert not os.listdir() and 'BNSWEEP_STORE' not in os.environ\n"
    look += f"open({str(tmp_path)!r} + '/was', 'w').write(os.getcwd())\nopen('left', 'w')\n"
    assert bnsweep("plan", written(tmp_path, BASE, MINE + look)).code == 0
    assert not Path((tmp_path / "was").read_text()).exists()


def test_own_trials_are_trained_and_read_without_their_code(bnsweep, train, tmp_path):
    path = written(tmp_path, AXES)
    store = train(path)
    kept = store.code(Sweep.load(path).trials[0].code_sha256)
    assert kept is not None
    assert kept.read_text() == MINE
    first, second = (spec.config_id for spec in Sweep.load(path).trials)
    (tmp_path / "mine.py").unlink()
    shutil.rmtree(store.code_folder)
    assert "2 finished" in bnsweep("status", "mine").out
    assert "stem_only" in bnsweep("compare", first, second).out
    assert bnsweep("report", "mine", "--out", tmp_path / "report").code == 0
    (trial_id, _) = sorted(store.trial_ids())
    details = json.loads(bnsweep("show", trial_id, "--json").out)
    assert details["parameters"]["total"] == 8 * 3 * 9 + 8 * 2 + 8 * 10 + 10
    assert list(results("mine", store=store.root)["params_trainable"]) == [322, 216]


def test_own_data_sets_and_augmentations_are_trained(train, tmp_path):
    base = "base: {model: tiny, depth: 1, dataset: squares, augmentation: darker, epochs: 1}\n"
    store = train(written(tmp_path, base))
    (trial_id,) = store.trial_ids()
    assert store.state(trial_id).state == "finished"


def test_a_plan_says_what_is_finished_under_other_code(bnsweep, train, tmp_path):
    path = written(tmp_path, AXES)
    sha256 = Sweep.load(path).trials[0].code_sha256
    train(path)
    said = bnsweep("plan", written(tmp_path, AXES, MINE + "# a comment\n"))
    assert "mine: 2 of 2 trials to run" in said.out
    assert f"2 finished under other code: {sha256[:12]}…; `bnsweep compare` sets them" in said.out


def test_a_resume_names_the_code_and_takes_the_stores_copy(bnsweep, train, tmp_path):
    path = written(tmp_path, BASE)
    store = train(path)
    (trial_id,) = store.trial_ids()
    sha256 = Sweep.load(path).trials[0].code_sha256
    store.discard(trial_id)
    (tmp_path / "mine.py").write_text("this is no Python")
    said = bnsweep("resume", "mine", "--inline", "-y")
    assert said.code == 0, said.err
    assert f"code: mine.py, sha256 {sha256}" in said.err
    assert store.state(trial_id).state == "finished"


def test_without_a_copy_changed_code_is_not_resumed(bnsweep, train, tmp_path):
    path = written(tmp_path, BASE)
    store = train(path)
    sweep = Sweep.load(path)
    shutil.rmtree(store.code_folder)
    assert described.code_of(sweep.spec, store) == tmp_path / "mine.py"
    (tmp_path / "mine.py").write_text("this is no Python")
    with pytest.raises(UserError, match=r"mine.py was changed or removed since it was read"):
        described.code_of(sweep.spec, store)


def test_an_own_network_is_exported_with_the_stores_copy_of_its_code(bnsweep, train, tmp_path):
    store = train(written(tmp_path, BASE))
    (tmp_path / "mine.py").unlink()
    (trial_id,) = store.trial_ids()
    said = bnsweep("export", trial_id, tmp_path / "model.pt")
    assert said.code == 0, said.err
    assert "numbers" in said.out
