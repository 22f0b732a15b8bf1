"""The plan: what a launch would do with each trial, what it costs, and what exceeds a limit."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_results import made

from orchestrator.planning import plan
from orchestrator.store import liveness, ownership
from orchestrator.store.failures import Failure
from orchestrator.store.records import Launch
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec
from trainer import results
from trainer.spec import TrialSpec

ROOT = Path(plan.__file__).parents[2]
TEXT = """
name: tiny
recipe: digits
base: {epochs: 4}
axes:
  depth: [8, 14]
  trainable: [all, bn_only]
seeds: 2
"""


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.open_for_writing()
    return store


def planned(store, text=TEXT, *overrides):
    return plan.make(sweep_spec.parse(text, "tiny.yaml", overrides), store)


def claimed(store, spec):
    return ownership.claim(store, spec, liveness.this_process("tiny", 1))


def finish(store, spec, seconds=1.0, packed=1, processes=1):
    claim = claimed(store, spec)
    found = made(spec)
    numerics = {**found.numerics, "packed": packed, "processes": processes}
    result = found.model_copy(update={"seconds": seconds, "numerics": numerics})
    results.write(claim.folder / results.RESULT, result)
    ownership.publish(store, claim)


def fail(store, spec, kind="code"):
    ownership.fail(claimed(store, spec), Failure(failure=kind, cause="because"))


def test_a_plan_starts_nothing_and_writes_nothing(tmp_path):
    planned(Store(tmp_path / "nowhere"))
    assert not list(tmp_path.iterdir())


def test_an_empty_store_means_that_all_trials_run_and_no_time_is_known(store):
    made_plan = planned(store)
    assert len(made_plan.to_run) == 8
    assert made_plan.totals.hours is None
    assert made_plan.totals.trials_of_unknown_length == 8
    assert {row.why for row in made_plan.rows} == {"not trained yet"}


def test_finished_trials_do_not_run_again_whichever_sweep_trained_them(store):
    trials = sweep_spec.parse(TEXT, "tiny.yaml").trials
    finish(store, trials[0])
    other = planned(store, TEXT.replace("name: tiny", "name: other"))
    assert other.rows[0].why == "finished: not trained again"
    assert other.to_run == trials[1:]


def test_more_seeds_and_values_run_only_what_is_new(store):
    for spec in sweep_spec.parse(TEXT, "tiny.yaml").trials:
        finish(store, spec)
    new = planned(store, TEXT.replace("[8, 14]", "[8, 14, 20]").replace("seeds: 2", "seeds: 3"))
    assert len(new.to_run) == 3 * 2 * 3 - 8
    assert all(spec.depth == 20 or spec.seed == 2 for spec in new.to_run)


def test_trials_that_left_the_sweep_are_named_and_left_alone(store):
    old = sweep_spec.parse(TEXT, "tiny.yaml").trials
    fields = tuple(spec.identity_fields() for spec in old)
    store.record_launch(
        Launch(sweep={"name": "tiny", "trials": fields}, number=0, time_ms=0, host="")
    )
    made_plan = planned(store, TEXT.replace("[8, 14]", "[8]"))
    assert made_plan.removed == tuple(spec.trial_id for spec in old if spec.depth == 14)
    assert len(made_plan.rows) == 4


def test_a_running_trial_names_its_owner_and_is_not_run_beside_it(store):
    spec = sweep_spec.parse(TEXT, "tiny.yaml").trials[0]
    claimed(store, spec)
    row = planned(store).rows[0]
    assert row.status.state == "running"
    assert not row.runs
    assert str(os.getpid()) in row.to_json()["owner"]


@pytest.mark.parametrize(
    ("kind", "state", "runs"),
    [
        ("code", "failed", True),
        ("oom", "failed", True),
        ("diverged", "failed", False),
        ("user", "failed", True),
        ("stopped", "stopped", True),
        ("lost", "stopped", True),
        ("moved", "stopped", True),
    ],
)
def test_what_failed_runs_again_unless_the_same_would_happen(store, kind, state, runs):
    fail(store, sweep_spec.parse(TEXT, "tiny.yaml").trials[0], kind)
    row = planned(store).rows[0]
    assert (row.status.state, row.runs) == (state, runs)
    assert "because" in row.why


def test_time_comes_from_replicates_first_then_from_near_configurations_scaled_by_flops(store):
    trials = sweep_spec.parse(TEXT, "tiny.yaml").trials
    finish(store, trials[0].changed(epochs=2), seconds=10.0)
    finish(store, trials[0].changed(epochs=2, seed=7), seconds=14.0)
    by_config = {(g.spec.depth, g.spec.trainable): g for g in planned(store).groups()}
    same, near = by_config[8, "all"].estimate, by_config[14, "all"].estimate
    assert (same.seconds, same.low, same.high, same.source) == (24.0, 20.0, 28.0, "same")
    scale = by_config[14, "all"].costs.flops_per_image / by_config[8, "all"].costs.flops_per_image
    assert near.source == "near"
    assert near.seconds == pytest.approx(24.0 * scale)
    assert by_config[8, "bn_only"].estimate is None


def test_a_trial_of_a_pack_is_known_to_have_taken_its_share_of_the_pack_s_time(store):
    trials = sweep_spec.parse(TEXT, "tiny.yaml").trials
    for seed in range(3):
        finish(store, trials[0].changed(seed=seed + 7), seconds=60.0, packed=3)
    assert planned(store).rows[0].estimate.seconds == pytest.approx(20.0)


def test_hours_count_only_what_is_left_to_train(store):
    trials = sweep_spec.parse(TEXT, "tiny.yaml", ["depth=8", "trainable=all"]).trials
    finish(store, trials[0], seconds=7200.0)
    totals = planned(store, TEXT, "depth=8", "trainable=all", "resources.gpus=0.5").totals
    assert (totals.hours, totals.gpu_hours, totals.cpu_hours) == (2.0, 1.0, 2.0)


def test_processes_of_a_trial_share_its_time_and_cost_cpus_each(store):
    text = TEXT.replace("epochs: 4", "epochs: 4, bn_batch: 16")
    alone, together = ["depth=8", "trainable=all"], ["resources.gpus=0", "resources.processes=2"]
    trials = sweep_spec.parse(text, "tiny.yaml", alone).trials
    finish(store, trials[0].changed(seed=7), seconds=1800.0, processes=4)
    totals = planned(store, text, *alone).totals
    assert (totals.hours, totals.cpu_hours) == (4.0, 4.0)
    totals = planned(store, text, *alone, *together).totals
    assert (totals.hours, totals.gpu_hours, totals.cpu_hours) == (2.0, 0.0, 4.0)
    totals = planned(store, text, *alone, "resources.gpus=4").totals
    assert (totals.hours, totals.gpu_hours, totals.cpu_hours) == (1.0, 4.0, 4.0)


def test_rows_of_one_configuration_are_one_group(store):
    groups = planned(store).groups()
    assert [(g.spec.depth, g.spec.trainable, g.trials) for g in groups] == [
        (8, "all", 2),
        (8, "bn_only", 2),
        (14, "all", 2),
        (14, "bn_only", 2),
    ]
    assert groups[0].states == {"pending": 2}


def test_json_has_the_promised_keys_and_every_field_of_the_spec(store):
    content = json.loads(json.dumps(planned(store).to_json()))
    assert {"sweep", "trials", "totals"} <= content.keys()
    promised = {
        "trial_id",
        "config_id",
        "state",
        "params_total",
        "params_trainable",
        "params_bn",
        "params_output",
        "params_shortcut",
        "flops_per_image",
        "checkpoint_bytes",
        "memory_bytes",
        "seconds",
    }
    for trial in content["trials"]:
        assert promised | TrialSpec.model_fields.keys() <= trial.keys()
    assert content["trials"][0]["seconds"] is None


def test_csv_has_a_line_for_each_trial(store):
    rows = list(csv.DictReader(io.StringIO(planned(store).to_csv())))
    assert [row["depth"] for row in rows] == ["8"] * 4 + ["14"] * 4


def test_explain_names_the_fields_that_differ_from_the_default():
    spec = TrialSpec(depth=20, trainable="bn_only")
    assert plan.explain(spec) == {"depth": (20, 14), "trainable": ("bn_only", "all")}


def test_planning_imports_neither_torch_nor_ray_nor_mlflow():
    code = (
        "import sys; from pathlib import Path\n"
        "from orchestrator.planning import plan; from orchestrator.sweep import sweep_spec\n"
        "from orchestrator.store.store import Store\n"
        "made = plan.make(sweep_spec.load(Path('sweeps/quickstart.yaml')), Store(Path('none')))\n"
        "made.to_json(), made.to_csv(), made.groups()\n"
        "print(sorted({'torch', 'ray', 'mlflow', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
