"""What a run and its experiment show a person, and that runs of before stay as they are."""

import pytest
from made_results import made
from made_trials import a_store, claimed, finished, launched, record, trained, write

from orchestrator import machine
from orchestrator.store.records import Launch
from orchestrator.sweep import sweep_spec
from orchestrator.tracking import cursor, shown
from orchestrator.tracking.audit import audit
from orchestrator.tracking.forwarder import sync
from orchestrator.tracking.memory_tracker import MemoryTracker
from orchestrator.tracking.mirror import Mirror
from orchestrator.tracking.shown import Shown
from orchestrator.tracking.tracker import tags_of
from trainer.spec import TrialSpec

SPECS = [TrialSpec(epochs=3, trainable=mode, seed=s) for mode in ("all", "bn_only") for s in (0, 1)]
SPEC = SPECS[0]
YAML = """
name: depth
description: What depth does
base: {epochs: 3, depth: 14}
axes: {trainable: [all, bn_only], lr: [0.1, 0.2]}
seeds: 2
"""


@pytest.fixture
def store(tmp_path):
    return a_store(tmp_path)


@pytest.fixture
def tracker():
    return MemoryTracker()


def launch_file(store, *overrides, filename="sweeps/my depth.yaml", **fields):
    sweep = sweep_spec.parse(YAML, filename, overrides)
    return store.record_launch(Launch(number=0, time_ms=1, host="here", sweep=sweep, **fields))


def the_run(store, tracker, spec=SPEC):
    (run,) = tracker.runs(tracker.open("depth"), store.identity, spec.trial_id)
    return run


def test_a_run_is_named_by_what_differs_and_grouped_by_the_same_without_its_seed(store, tracker):
    launched(store, SPECS)
    for spec in SPECS:
        trained(store, spec)
    sync(store, "depth", tracker)
    runs = [the_run(store, tracker, spec) for spec in SPECS]
    assert [run.name for run in runs] == [
        "d14 all s0",
        "d14 all s1",
        "d14 bn_only s0",
        "d14 bn_only s1",
    ]
    assert [run.tags["config"] for run in runs] == ["d14 all"] * 2 + ["d14 bn_only"] * 2


def test_a_run_says_where_it_comes_from(store, tracker):
    launch = launch_file(store, "epochs=3", commit="c0ffee")
    spec = launch.specs[0]
    trained(store, spec)
    sync(store, "depth", tracker)
    tags = the_run(store, tracker, spec).tags
    assert tags["mlflow.source.name"] == "sweeps/my depth.yaml"
    assert tags["mlflow.source.type"] == "LOCAL"
    assert tags["mlflow.user"] == machine.user_name()
    assert tags["mlflow.source.git.commit"] == "c0ffee"
    assert "bnsweep launch 'sweeps/my depth.yaml' --set epochs=3\n" in tags[shown.NOTE]
    assert spec.trial_id in tags[shown.NOTE]


def test_what_is_not_known_is_left_out(store, tracker):
    launched(store, SPECS)
    trained(store, SPEC)
    sync(store, "depth", tracker)
    tags = the_run(store, tracker).tags
    assert {name for name in tags if not name.startswith("bnsweep.")} == {
        "config",
        "mlflow.note.content",
        "mlflow.source.type",
        "mlflow.user",
    }
    assert "launched with" not in tags[shown.NOTE]


@pytest.mark.parametrize("filename", ["Sweep.of", "text", ""])
def test_a_sweep_without_a_file_has_no_command(store, filename):
    launch = launch_file(store, filename=filename)
    assert shown.command_of(launch) == ""
    assert shown.about(launch) == "What depth does\n\n8 trials."


def test_the_experiment_has_the_description_the_command_and_the_fields_that_vary(store, tracker):
    launch = launch_file(store)
    trained(store, launch.specs[0])
    sync(store, "depth", tracker)
    key = tracker.open("depth").key
    assert tracker.descriptions[key] == (
        "What depth does\n\n8 trials, launched with\n\n"
        "```\nbnsweep launch 'sweeps/my depth.yaml'\n```"
    )
    assert tracker.columns[key] == ("test/accuracy", "train/accuracy", "trainable", "lr", "seed")


def test_a_text_that_is_there_stays(store, tracker):
    launch = launch_file(store)
    tracker.describe(tracker.open("depth"), "written by hand")
    trained(store, launch.specs[0])
    sync(store, "depth", tracker)
    assert list(tracker.descriptions.values()) == ["written by hand"]


def test_counts_and_data_come_with_the_result(store, tracker):
    launched(store, SPECS)
    claim = claimed(store, SPEC)
    write(claim, record(0))
    sync(store, "depth", tracker)
    assert "params_total" not in the_run(store, tracker).params
    assert tracker.data == {}
    write(claim, record(1), record(2), record(3))
    finished(store, claim, SPEC)
    sync(store, "depth", tracker)
    run = the_run(store, tracker)
    assert run.params["params_total"] == "175258"
    assert tracker.data == {run.run_id: {("cifar10", "d" * 16)}}
    assert tracker.calls.count("add_data") == 1


@pytest.mark.parametrize(
    ("fields", "name", "images"),
    [
        ({}, "cifar10", {"training": 50_000, "test": 10_000}),
        ({"train_subset": 100}, "cifar10", {"training": 100, "test": 10_000}),
        ({"validation": 1000}, "cifar10", {"training": 49_000, "validation": 1000, "test": 10_000}),
        (
            {"dataset": "image_folder", "data_id": "cats", "classes": 2, "image_size": 32},
            "cats",
            {},
        ),
    ],
)
def test_the_data_set_has_its_name_and_the_images_of_each_split(fields, name, images):
    spec = TrialSpec(**fields)
    data = shown.data_of(spec, made(spec))
    assert (data.name, dict(data.images)) == (name, images)


def made_by_an_older_version(store, tracker, monkeypatch):
    """A pass of a forwarder that knew nothing of all this."""
    with monkeypatch.context() as patched:
        patched.setattr(Shown, "name", lambda _, spec: spec.trial_id)
        patched.setattr(Shown, "tags", lambda *_: {})
        patched.setattr(Mirror, "_introduce", lambda _: None)
        patched.setattr(Mirror, "_send_measured", lambda *_: None)
        assert sync(store, "depth", tracker).empty
    path = cursor.path_of(store, "depth", SPEC.trial_id)
    old = path.read_text().replace('"counted":false,"data_named":false,', "")
    assert "counted" not in old
    path.write_text(old)
    tracker.calls.clear()
    return the_run(store, tracker)


def test_a_finished_run_of_an_older_version_stays_as_it_is(store, tracker, monkeypatch):
    launched(store, SPECS)
    trained(store, SPEC)
    before = made_by_an_older_version(store, tracker, monkeypatch)
    assert set(before.tags) == set(tags_of("depth", "", SPEC, "finished", None))
    assert sync(store, "depth", tracker).notes == ()
    assert the_run(store, tracker) == before
    assert set(tracker.calls) <= {"open", "check", "runs"}
    assert all(check.ok for check in audit(store, "depth", tracker))


def test_an_unfinished_run_of_an_older_version_goes_on(store, tracker, monkeypatch):
    launched(store, SPECS)
    claim = claimed(store, SPEC)
    write(claim, record(0), record(1))
    before = made_by_an_older_version(store, tracker, monkeypatch)
    write(claim, record(2), record(3))
    finished(store, claim, SPEC)
    assert sync(store, "depth", tracker).notes == ()
    run = the_run(store, tracker)
    assert (run.run_id, run.name, run.status) == (before.run_id, SPEC.trial_id, "FINISHED")
    assert run.params["params_bn"] == "1120"
    assert "create" not in tracker.calls
    assert all(check.ok for check in audit(store, "depth", tracker))


def test_what_a_person_edits_stays_edited(store, tracker):
    launched(store, SPECS)
    claim = claimed(store, SPEC)
    write(claim, record(0))
    sync(store, "depth", tracker)
    run_id = the_run(store, tracker).run_id
    tracker.send(run_id, tags={shown.NOTE: "mine", "config": "mine"})
    write(claim, record(1), record(2), record(3))
    finished(store, claim, SPEC)
    sync(store, "depth", tracker)
    run = the_run(store, tracker)
    assert (run.tags[shown.NOTE], run.tags["config"]) == ("mine", "mine")
    assert all(check.ok for check in audit(store, "depth", tracker))
    assert (run.run_id, run.status) == (run_id, "FINISHED")
