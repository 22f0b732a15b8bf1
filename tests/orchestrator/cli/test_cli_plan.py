"""plan: what it prints, for people and for programs."""

import csv
import json

import pytest
from made_store import FINISHED

from orchestrator import machine
from orchestrator.cli import plan_text
from orchestrator.planning.plan import Totals
from orchestrator.sweep.resources import Resources
from trainer.spec import TrialSpec

QUICKSTART = "sweeps/quickstart.yaml"


def test_the_table_has_a_line_for_each_configuration(bnsweep, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = bnsweep("plan", QUICKSTART)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].split()[:4] == ["depth", "trainable", "params", "trained"]
    assert lines[1].split()[:4] == ["8", "all", "78,042", "78,042"]
    assert lines[1].split()[-2:] == ["2", "pending"]
    assert "quickstart: 12 of 12 trials to run" in lines
    assert max(map(len, lines)) <= 80


def test_the_papers_counts_stand_in_the_table_of_its_main_figure(bnsweep, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.split() for line in bnsweep("plan", "sweeps/depth.yaml").out.splitlines()]
    assert ["866", "bn_only", "13,979,930", "64,736"] in [line[:4] for line in lines]


def test_a_plan_on_imagenet_says_what_the_data_folder_lacks(bnsweep, monkeypatch, tmp_path):
    monkeypatch.setenv("BNSWEEP_DATA", str(tmp_path))
    lines = bnsweep("plan", "sweeps/imagenet_width.yaml").out.splitlines()
    missing = f"{tmp_path}/imagenet/train: no such folder; it should hold a folder for each class"
    assert lines[-1] == missing


def test_each_trial_has_its_line_on_request(bnsweep):
    lines = bnsweep("plan", QUICKSTART, "--each").out.splitlines()
    assert sum("not trained yet" in line for line in lines) == 12


def test_json_has_the_promised_keys_alone_on_standard_output(bnsweep):
    said = bnsweep("plan", QUICKSTART, "--json")
    plan = json.loads(said.out)
    assert said.err == ""
    assert plan["sweep"] == "quickstart"
    promised = {"trial_id", "config_id", "state", "seconds", "checkpoint_bytes", "memory_bytes"}
    promised |= {f"params_{what}" for what in ("total", "trainable", "bn", "output", "shortcut")}
    assert len(plan["trials"]) == 12
    for trial in plan["trials"]:
        assert promised | {"flops_per_image"} | set(TrialSpec.model_fields) <= set(trial)
    assert plan["totals"]["trials"] == 12


def test_csv_has_a_line_for_each_trial(bnsweep):
    rows = list(csv.DictReader(bnsweep("plan", QUICKSTART, "--csv").out.splitlines()))
    assert len(rows) == 12
    assert rows[0]["params_total"].isdigit()


def test_overrides_change_the_plan(bnsweep):
    said = bnsweep("plan", QUICKSTART, "--set", "depth=20", "--set", "seeds=1", "--json")
    assert {trial["depth"] for trial in json.loads(said.out)["trials"]} == {20}


def test_a_plan_beyond_its_limit_is_a_mistake_that_starts_nothing(bnsweep):
    said = bnsweep("plan", QUICKSTART, "--max-memory", "0.001")
    assert said.code == 2
    assert "--max-memory" in said.err


def test_the_plan_sees_what_the_store_has(bnsweep, launched, tmp_path):
    sweep = tmp_path / "depth.yaml"
    sweep.write_text(
        "name: depth\nbase: {depth: 14, trainable: bn_only, epochs: 3}\naxes: {lr: [0.1]}\nseeds: 5"
    )
    trials = json.loads(bnsweep("plan", sweep, "--json").out)["trials"]
    states = {trial["trial_id"]: trial["state"] for trial in trials}
    assert states[FINISHED.trial_id] == "finished"
    assert list(states.values()) == ["finished", "failed", "running", "pending", "pending"]


@pytest.mark.parametrize(
    ("cpus", "gpus", "to_run", "said"),
    [
        (1, 0, 6, "; here 4 at a time, so about 1 h 30 min"),
        (2, 0, 6, "; here 2 at a time, so about 3 h 00 min"),
        (1, 0, 2, "; here 2 at a time, so about 3 h 00 min"),
        (4, 0, 6, ""),
        (1, 0.5, 6, ""),
    ],
)
def test_the_time_is_told_for_as_many_as_train_at_once_here(monkeypatch, cpus, gpus, to_run, said):
    monkeypatch.setattr(machine, "cpu_count", lambda: 4)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    totals = Totals(6, to_run, {}, 6.0, 0.0, 6.0, 0, 0, 0)
    at_once = plan_text.trials_at_once(Resources(cpus=cpus, gpus=gpus))
    assert plan_text.training_time(totals, at_once) == (
        "6 h 00 min of training, from times seen in this store" + said
    )


def test_a_limit_of_trials_at_once_is_in_the_time(monkeypatch):
    monkeypatch.setattr(machine, "cpu_count", lambda: 4)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert plan_text.trials_at_once(Resources(gpus=0.0, at_once=3)) == 3
    assert plan_text.trials_at_once(Resources(gpus=0.0, at_once=5)) == 4


def test_on_a_cluster_the_time_is_that_of_all_trials_together(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert plan_text.trials_at_once(Resources()) == 1


def test_trials_under_way_are_told_before_a_second_launch(bnsweep, launched, tmp_path):
    file = tmp_path / "depth.yaml"
    file.write_text("name: depth\nbase: {depth: 14, trainable: bn_only, epochs: 3}\nseeds: 4\n")
    said = bnsweep("plan", file)
    assert "1 being trained already" in said.out + said.err
    assert "to watch them: bnsweep status depth -w" in said.out + said.err


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ("resources.gpus=4", "libraries on each of 4 GPUs;"),
        ("resources.processes=2", "libraries in each of 2 processes;"),
        ("resources.cpus=2", "libraries;"),
    ],
)
def test_the_memory_of_a_trial_is_said_for_each_of_its_processes(bnsweep, tiny, resources, said):
    assert said in bnsweep("plan", tiny, "--set", "bn_batch=8", "--set", resources).out
