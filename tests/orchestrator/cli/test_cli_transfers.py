"""push and pull: what they say, and that a launch trains only what nobody has."""

import json

import pytest
from made_store import FINISHED
from made_trials import a_store, claimed, finished, record, write

from orchestrator.store.store import Store


@pytest.fixture
def url(tmp_path):
    return tmp_path / "shared"


def elsewhere(tmp_path, monkeypatch):
    """From here on `bnsweep` works with another store, that has nothing but MLflow's tables."""
    store = tmp_path / "elsewhere"
    store.mkdir()
    (store / "mlflow.db").write_bytes((tmp_path / "runs" / "mlflow.db").read_bytes())
    monkeypatch.setenv("BNSWEEP_STORE", str(store))
    return Store(store)


def test_after_a_pull_a_launch_trains_only_what_is_missing_and_audit_proves_it(
    bnsweep, tiny, url, tmp_path, monkeypatch, empty_mlflow_database
):
    assert bnsweep("launch", tiny, "--set", "trainable=all", "--inline", "-q").code == 0
    assert bnsweep("push", url, "tiny").code == 0
    store = elsewhere(tmp_path, monkeypatch)
    (store.root / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    said = bnsweep("pull", url)
    assert (said.code, said.out) == (0, "1 pulled, 0 there already, 0 refused\n")
    (pulled,) = store.trial_ids()
    before = (store.trial_folder(pulled) / "result.json").stat()
    plan = json.loads(bnsweep("plan", tiny, "--json").out)
    assert plan["totals"]["states"] == {"finished": 1, "pending": 1}
    assert bnsweep("launch", tiny, "--inline", "-q").code == 0
    assert [store.state(t).state for t in store.trial_ids()] == ["finished"] * 2
    assert store.attempts(pulled) == [1]
    shown = json.loads(bnsweep("show", pulled, "--json").out)  # where no line is folded
    assert shown["attempt 1"].endswith(f"finished; pulled from {url}")
    assert (store.trial_folder(pulled) / "result.json").stat() == before
    said = bnsweep("audit", "tiny")
    assert said.code == 0, said.out
    assert "2 trial folders, each of a known spec, 1 of them pulled" in said.out
    assert bnsweep("push", url).out == "1 pushed, 1 there already, 0 refused\n"


def test_each_trial_is_a_line_and_json_names_what_moved(bnsweep, launched, url):
    said = bnsweep("push", url, "depth")
    assert said.err == f"{FINISHED.trial_id}: pushed\n"
    assert said.out == "1 pushed, 0 there already, 0 refused\n"
    said = bnsweep("push", url, "--json")
    assert json.loads(said.out) == {"url": str(url), "moved": [], "there": 1, "left": []}


def test_a_refused_trial_is_named_and_the_exit_code_says_so(bnsweep, launched, url, tmp_path):
    bnsweep("push", url)
    other = a_store(tmp_path / "other")
    claim = claimed(other, FINISHED)
    write(claim, *(record(epoch, value=7.0) for epoch in range(FINISHED.epochs + 1)))
    finished(other, claim, FINISHED)
    said = bnsweep("pull", url, "--store", other.root)
    assert said.code == 1
    assert said.out == (
        f"{FINISHED.trial_id}: refused: both sides have finished it, with different numbers\n"
        "0 pulled, 0 there already, 1 refused\n"
    )
    left = json.loads(bnsweep("pull", url, "--json", "--store", other.root).out)["left"]
    assert [(step["trial_id"], step["outcome"]) for step in left] == [
        (FINISHED.trial_id, "refused")
    ]


def test_mistakes_are_lines(bnsweep, launched, url):
    said = bnsweep("push", "ftp://host/x")
    assert said.code == 2
    assert said.err.startswith("ftp://host/x: no place for results; allowed: ")
    bnsweep("push", url)
    said = bnsweep("pull", url, "depht")
    assert (said.code, said.err) == (2, f"sweep depht: not in {url}; there: depth\n")
    said = bnsweep("push", url, "--store", url / "none")
    assert (said.code, said.out) == (2, "")
    assert said.err == f"store {url / 'none'}: is not there; say where results are with --store\n"


def test_ctrl_c_says_what_was_done_and_that_the_command_goes_on(
    bnsweep, launched, url, monkeypatch
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.store.archive.pack", interrupted)
    said = bnsweep("push", url)
    assert (said.code, said.out) == (4, "0 pushed, 0 there already, 0 refused\n")
    assert said.err == "interrupted; the same command goes on\n"
