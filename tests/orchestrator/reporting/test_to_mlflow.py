import pytest
from made_results import made
from made_store import FINISHED, launch_depth

from orchestrator.errors import UnreachableError, UserError
from orchestrator.reporting import report, sweep_results, to_mlflow
from orchestrator.reporting.sweep_results import SweepResults
from orchestrator.store.records import Launch
from orchestrator.tracking.audit import audit
from orchestrator.tracking.forwarder import sync
from orchestrator.tracking.memory_tracker import MemoryTracker
from orchestrator.tracking.shown import NOTE
from orchestrator.tracking.tracker import TAG_CHARACTERS, Experiment, Run
from trainer.spec import TrialSpec


@pytest.fixture
def tracker(store):
    """Has what the sweep `depth` has."""
    launch_depth(store)
    tracker = MemoryTracker()
    sync(store, "depth", tracker)
    return tracker


@pytest.fixture
def folder(store, tracker, tmp_path):
    return report.build(sweep_results.read(store, "depth"), tmp_path / "report").parent


def publish(store, folder, tracker):
    results = sweep_results.read(store, "depth")
    return to_mlflow.publish(results, folder, tracker, store.identity)


def test_page_figures_and_tables_lie_with_the_first_finished_trial(store, tracker, folder):
    name = publish(store, folder, tracker)
    (run,) = tracker.runs(tracker.open("depth"), store.identity, FINISHED.trial_id)
    assert run.name == name
    files = tracker.artifacts(run.run_id)
    assert "report/index.html" in files
    assert "report/training_curves.png" in files
    assert "report/configurations.csv" in files


def test_no_run_is_made_for_it_and_sending_it_again_replaces_it(store, tracker, folder):
    before = len(list(tracker.runs(tracker.open("depth"), store.identity)))
    names = {publish(store, folder, tracker) for _ in range(2)}
    assert len(names) == 1
    assert len(list(tracker.runs(tracker.open("depth"), store.identity))) == before


def test_the_experiment_shows_the_table_and_says_what_is_missing(store, tracker, folder):
    name = publish(store, folder, tracker)
    (text,) = tracker.descriptions.values()
    assert "| cifar_resnet | 71.2 (1 of 4) |" in text
    assert "Not complete: 3 trials have no result." in text
    experiment = tracker.open("depth")
    (run,) = tracker.runs(experiment, store.identity, FINISHED.trial_id)
    link = f"#/experiments/{experiment.id}/runs/{run.run_id}/artifacts/report/index.html"
    assert text.endswith(f"[`report/index.html` among the artifacts of the run {name}]({link}).")


def test_a_long_table_is_cut_to_what_mlflow_takes():
    specs = tuple(TrialSpec(lr=0.001 * n, trainable="bn_only") for n in range(1, 400))
    launch = Launch(
        sweep={"name": "many", "description": "many rates"}, number=1, time_ms=0, host="here"
    )
    results = SweepResults(launch, specs, [], [made(specs[0])], [], [])
    text = to_mlflow.description(results, Experiment("1", "key"), Run("r1", "run", "FINISHED", 0))
    assert len(text) <= TAG_CHARACTERS
    assert text.startswith("many rates")
    assert text.endswith(
        "artifacts of the run run](#/experiments/1/runs/r1/artifacts/report/index.html)."
    )


def paragraphs(store, tracker):
    (run,) = tracker.runs(tracker.open("depth"), store.identity, FINISHED.trial_id)
    return run.tags[NOTE].split("\n\n")


def test_a_run_has_the_papers_value_beside_ours_once(store, tracker, folder):
    before, found = paragraphs(store, tracker), audit(store, "depth", tracker)
    tracker.calls.clear()
    for _ in range(2):
        publish(store, folder, tracker)
    paper, *others = paragraphs(store, tracker)
    assert paper.startswith("**Paper:** test/accuracy 48 % (")
    ours = ", here 71.2 % (1 seed): other protocol; trained otherwise: epochs 3 (paper: 160)"
    assert ours in paper
    assert others == before
    assert tracker.calls.count("send") == 1
    assert audit(store, "depth", tracker)[:-1] == found[:-1]  # all but the number of files


def test_what_is_not_published_leaves_descriptions_alone(store, tracker, folder, monkeypatch):
    before = paragraphs(store, tracker)
    monkeypatch.setattr(to_mlflow, "published", lambda: ())
    publish(store, folder, tracker)
    assert paragraphs(store, tracker) == before


def test_a_dead_tracker_is_unreachable_and_one_without_the_trials_is_said(store, tracker, folder):
    tracker.down = True
    with pytest.raises(UnreachableError):
        publish(store, folder, tracker)
    with pytest.raises(UserError, match="bnsweep sync depth"):
        publish(store, folder, MemoryTracker())


def test_reading_an_unknown_sweep_names_the_sweeps_that_there_are(store):
    launch_depth(store)
    with pytest.raises(UserError, match=r"did you mean depth\?"):
        sweep_results.read(store, "width")
