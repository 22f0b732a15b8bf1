"""The library: the same words as the command line, in Python."""

import subprocess
import sys

import pytest
from made_results import made
from made_store import FINISHED

import orchestrator
from orchestrator import Sweep, histories, launch, results
from orchestrator.errors import SweepError, UserError
from orchestrator.launching.driver import InlineLauncher
from orchestrator.store.records import Launch
from orchestrator.store.store import Store
from orchestrator.tracking.memory_tracker import MemoryTracker
from trainer import results as trial_results

TEXT = """
name: tiny
base:
  {depth: 8, dataset: synthetic, image_size: 8, train_subset: 64, batch_size: 32, lr: 0.01}
axes: {trainable: [all, bn_only]}
seeds: 1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, empty_mlflow_database):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    return tmp_path


def test_a_sweep_is_planned_launched_and_read_as_a_frame(folder):
    sweep = Sweep.parse(TEXT, "epochs=1")
    assert sweep.plan(folder).totals.to_run == 2
    outcome = launch(sweep, store=folder, inline=True)
    assert (outcome.exit_code, outcome.counts["finished"]) == (0, 2)
    assert sweep.plan(folder).totals.to_run == 0
    frame = results("tiny", store=folder)
    assert list(frame["trainable"]) == ["all", "bn_only"]
    assert list(frame["state"]) == ["finished", "finished"]
    assert frame["test/accuracy"].between(0, 100).all()
    assert {"trial_id", "config_id", "depth", "seed", "seconds", "exact"} <= set(frame.columns)


def test_a_launcher_and_a_tracker_of_ones_own_are_used(folder):
    class Mine(InlineLauncher):
        def __init__(self):
            self.calls = []

        def run(self, tasks):
            self.calls += [task.trials[0].trainable for task in tasks]
            super().run(tasks)

        def close(self):
            self.calls.append("close")

    launcher, tracker = Mine(), MemoryTracker()
    sweep = Sweep.parse(TEXT, "epochs=1")
    outcome = launch(sweep, store=folder, launcher=launcher, tracker=tracker)
    assert outcome.exit_code == 0
    assert launcher.calls == ["all", "bn_only", "close"]
    runs = tracker.runs(tracker.open("tiny"), Store(folder).identity)
    assert sorted(run.trial_id for run in runs) == sorted(t.trial_id for t in sweep.trials)


def test_results_are_of_finished_trials_and_of_all_on_request(launched):
    assert list(results("depth", store=launched.root)["state"]) == ["finished"]
    frame = results("depth", all=True, store=launched.root)
    assert list(frame["state"]) == ["finished", "failed", "running", "pending"]
    assert frame["test/accuracy"].notna().tolist() == [True, True, True, False]
    assert frame["seconds"].notna().tolist() == [True, False, False, False]


def test_results_have_the_same_columns_whatever_has_finished(launched):
    spec = FINISHED.changed(seed=7)
    launched.record_launch(
        Launch(sweep={"name": "new", "trials": [spec]}, number=0, time_ms=0, host="here")
    )
    nothing, some = results("new", store=launched.root), results("depth", store=launched.root)
    assert list(nothing.columns) == list(some.columns)
    assert nothing[["depth", "trainable", "seed", "test/accuracy"]].empty
    assert histories("new", store=launched.root)[["trial_id", "epoch", "test/accuracy"]].empty


def test_results_count_parameters_and_keep_the_learning_rate_of_the_spec(launched):
    (row,) = results("depth", store=launched.root).to_dict("records")
    names = ("total", "trainable", "bn", "output", "shortcut")
    counts = [row[f"params_{name}"] for name in names]
    assert counts == [175_258, 1_120, 1_120, 650, 2_560]
    assert row["lr"] == 0.1


def test_what_the_probes_measured_stands_behind_the_promised_columns(launched):
    folder = launched.trial_folder(FINISHED.trial_id)
    probed = made(FINISHED, metrics={"trained/gamma_mean": 0.4, "lr": 0.001})
    (folder / "result.json").unlink()
    trial_results.write(folder / "result.json", probed)
    frame = results("depth", store=launched.root)
    assert (frame.columns[-1], frame["trained/gamma_mean"][0]) == ("trained/gamma_mean", 0.4)
    assert frame["lr"][0] == 0.1


def test_histories_have_a_row_for_each_epoch(launched):
    frame = histories("depth", store=launched.root)
    assert list(frame["epoch"]) == [0, 1, 2, 3]
    assert frame["test/accuracy"].iloc[-1] == 71.25
    every = histories("depth", all=True, store=launched.root)
    assert every.groupby("trial_id", sort=False).size().tolist() == [4, 2, 2]
    fields = results("depth", all=True, store=launched.root)[["trial_id", "depth", "seed"]]
    assert len(fields.merge(every, on="trial_id")) == 8


def test_mistakes_are_exceptions_with_a_line_for_each_problem(tmp_path):
    with pytest.raises(SweepError, match="depth") as error:
        Sweep.parse("name: tiny\naxes: {depth: [13]}\n")
    assert len(error.value.lines) == 1
    with pytest.raises(UserError, match="sweep tiny: not in"):
        results("tiny", store=tmp_path)


def test_the_package_offers_its_names_and_no_others():
    assert set(orchestrator.__all__) <= set(dir(orchestrator))
    with pytest.raises(AttributeError, match="has no attribute 'lunch'"):
        orchestrator.lunch  # noqa: B018


def test_launch_is_the_function_even_after_its_modules_were_loaded():
    code = "import orchestrator.launching.driver, orchestrator.library\n"
    code += "from orchestrator import launch\nassert callable(launch)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_cluster_needs_a_tracking_server_and_nothing_is_started_without_one(folder, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI: is not set"):
        launch(Sweep.parse(TEXT), store=folder)
    assert not (folder / "sweeps").exists()
