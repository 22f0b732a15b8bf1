"""best from the command line: a real sweep, its choice, and the sweep that follows."""

import json

import pytest

SWEEP = """
name: rates
base: {depth: 8, dataset: synthetic, image_size: 8, train_subset: 64, batch_size: 32, epochs: 1,
       validation: 40}
axes: {trainable: [all, bn_only]}
sample: {count: 2, of: {lr: {log: [0.001, 1]}}}
seeds: 2
"""


@pytest.fixture
def rates(bnsweep, tmp_path, empty_mlflow_database):
    """A sampled sweep, trained."""
    store = tmp_path / "runs"
    store.mkdir()
    (store / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    path = tmp_path / "rates.yaml"
    path.write_text(SWEEP)
    assert bnsweep("launch", path, "--inline", "-y").code == 0
    return path


def test_a_sampled_sweep_is_followed_by_its_best_with_new_seeds(bnsweep, rates, tmp_path):
    trials = json.loads(bnsweep("status", "rates", "--json").out)["trials"]
    assert all(0 <= trial["validation_accuracy"] <= 100 for trial in trials)
    file = tmp_path / "again.yaml"
    said = bnsweep("best", "rates", "--json", "--write", file, "--seeds", "3")
    assert said.code == 0
    best = json.loads(said.out)["best"]
    assert [each["point"]["trainable"] for each in best] == ["all", "bn_only"]
    assert {each["of"] for each in best} == {2}
    planned = json.loads(bnsweep("plan", file, "--json").out)["trials"]
    assert [(t["trainable"], t["seed"], t["lr"]) for t in planned] == [
        (each["point"]["trainable"], seed, each["fields"]["lr"])
        for each in best
        for seed in (2, 3, 4)
    ]
    assert {(t["state"], t["validation"], t["steps_per_epoch"]) for t in planned} == {
        ("pending", 40, 2)
    }
    assert bnsweep("best", "rates", "--write", file).code == 2
    assert "validation accuracy" in bnsweep("best", "rates").out
    compared = json.loads(bnsweep("compare", "rates:all", "rates", "--best", "--json").out)
    assert compared["chosen"][1] == best
    assert [each["config_id"] for each in compared["chosen"][0]] == [best[0]["config_id"]]
    assert [row["estimates"][0]["n"] for row in compared["rows"]] == [2, 0]
    shown = bnsweep("compare", "rates", "rates", "--best", "--on-test-images")
    assert (shown.code, "chosen by the test images" in shown.out) == (0, True)
    page = bnsweep("report", "rates", "--no-mlflow")
    assert page.code == 0
    text = (tmp_path / "runs" / "sweeps" / "rates" / "report" / "index.html").read_text()
    assert "Validation: 40 of the training images" in text


def test_a_sweep_without_validation_is_told_how_to_have_it(bnsweep, launched):
    said = bnsweep("best", "depth")
    assert said.code == 2
    assert "sweep depth: 4 of its 4 trials keep no images for validation" in said.err
    assert bnsweep("best", "depht").err.endswith("did you mean depth?\n")


def test_a_name_that_no_sweep_can_have_is_refused_before_anything(bnsweep, launched):
    said = bnsweep("best", "depth", "--write", "My File.yaml")
    assert (said.code, "a-z, 0-9" in said.err) == (2, True)
