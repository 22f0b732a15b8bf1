"""verify on real trials: what trains again is the same, and what was changed is found."""

import json
from pathlib import Path

import pytest

from orchestrator.launching import verify as repeating
from orchestrator.launching.driver import InlineLauncher, launch
from orchestrator.reporting import sweep_results
from orchestrator.settings import load
from orchestrator.store.store import Store
from orchestrator.sweep.sweep_spec import SweepSpec
from trainer import files, results
from trainer.results import RESULT
from trainer.spec import TrialSpec

TINY = TrialSpec(
    depth=8, dataset="synthetic", image_size=8, train_subset=64, batch_size=32, epochs=2, lr=0.01
)
SAME = repeating.Repeated(TINY.trial_id, "same", "")
TRIALS = (
    TINY,
    TINY.changed(trainable="output_only"),
    TINY.changed(trainable="output_only", lr=0.1),
)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The sweep `tiny`, finished, its two output_only trials as one pack."""
    settings = load(store=tmp_path / "runs", data=tmp_path / "data")
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("BNSWEEP_DATA", str(settings.data))
    assert launch(SweepSpec(name="tiny", trials=TRIALS), settings, InlineLauncher).exit_code == 0
    return Store(settings.store)


def verify(bnsweep, store, *arguments):
    said = bnsweep("verify", "tiny", "--json", "--store", store.root, *arguments)
    return said.code, json.loads(said.out)


def test_all_that_is_trained_again_is_the_same_and_a_certificate_says_so(bnsweep, trained):
    code, found = verify(bnsweep, trained, "--seed", 7)
    assert (code, found["ok"], found["seed"]) == (0, True, 7)
    assert {one["verdict"] for one in found["trials"]} == {"same"}
    assert {one["trial_id"] for one in found["trials"]} == {spec.trial_id for spec in TRIALS}
    (path,) = (trained.sweep_folder("tiny") / "verified").iterdir()
    kept = json.loads(path.read_text())
    assert str(path) == found["certificate"]
    assert (kept["seed"], kept["trials"]) == (7, found["trials"])
    assert bnsweep("report", "tiny", "--store", trained.root).code == 0
    (page,) = trained.root.parent.rglob("index.html")
    assert "Of 3 finished trials 3 were trained again" in page.read_text()


def test_the_first_epochs_are_enough_to_compare(bnsweep, trained):
    code, found = verify(bnsweep, trained, "--epochs", 1, "--trial", TINY.trial_id)
    (one,) = found["trials"]
    assert (code, one["verdict"], one["epochs"]) == (0, "same", 1)


def test_a_result_that_no_training_gives_is_found(bnsweep, trained):
    """A result that was made anew, checksum and all, after the training: no audit can tell."""
    path = trained.trial_folder(TINY.trial_id) / RESULT
    result = results.parse(files.read(path))
    records = [r.model_copy(update={"metrics": {**r.metrics}}) for r in result.history]
    records[1].metrics["train/loss"] += 1e-6
    forged = result.model_copy(update={"history": records})
    path.unlink()
    results.write(path, forged)
    code, found = verify(bnsweep, trained, "--trial", TINY.trial_id)
    (one,) = found["trials"]
    assert (code, found["ok"], one["verdict"]) == (1, False, "differs")
    assert one["detail"].startswith("epoch 1: train/loss was ")
    said = bnsweep("verify", "tiny", "--store", trained.root, "--trial", TINY.trial_id)
    assert said.code == 1
    assert "NO" in said.out
    assert sweep_results.read(trained, "tiny").verified == {TINY.trial_id: "differs"}


def test_what_was_computed_otherwise_is_not_judged(bnsweep, trained):
    path = trained.trial_folder(TINY.trial_id) / RESULT
    result = results.parse(files.read(path))
    numerics = {**result.numerics, "cpu_capability": "ANOTHER"}
    records = [r.model_copy(update={"metrics": {**r.metrics}}) for r in result.history]
    records[1].metrics["train/loss"] += 1e-6
    path.unlink()
    results.write(path, result.model_copy(update={"history": records, "numerics": numerics}))
    code, found = verify(bnsweep, trained, "--trial", TINY.trial_id)
    (one,) = found["trials"]
    assert (code, one["verdict"]) == (0, "not comparable")
    assert one["detail"].startswith("computed otherwise (cpu_capability); test accuracy ")


def test_a_trial_that_cannot_be_trained_here_says_why(bnsweep, trained):
    path = trained.trial_folder(TINY.trial_id) / RESULT
    result = results.parse(files.read(path))
    path.unlink()
    results.write(
        path, result.model_copy(update={"numerics": {**result.numerics, "device": "tpu"}})
    )
    code, found = verify(bnsweep, trained, "--trial", TINY.trial_id)
    (one,) = found["trials"]
    assert (code, one["verdict"]) == (0, "not repeated")
    assert "tpu" in one["detail"]


def test_the_data_is_looked_for_where_the_launch_had_it(bnsweep, trained, tmp_path, monkeypatch):
    """Asked of the trainer's own process, which is told the folder."""
    given = []
    monkeypatch.delenv("BNSWEEP_DATA")
    monkeypatch.setattr(repeating, "train_again", lambda *a: given.append(a[2]) or SAME)
    verify(bnsweep, trained, "--trial", TINY.trial_id)
    (tmp_path / "data").rename(tmp_path / "moved")
    verify(bnsweep, trained, "--trial", TINY.trial_id)
    assert given == [tmp_path / "data", Path.cwd() / "data"]


def test_what_was_found_before_a_kill_is_kept(trained, tmp_path):
    def killed(index):
        if index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repeating.verify(trained, "tiny", TRIALS, tmp_path / "data", epochs=1, before=killed)
    (kept,) = trained.certificates("tiny")
    assert [(one["trial_id"], one["verdict"]) for one in kept["trials"]] == [
        (TINY.trial_id, "same")
    ]


def test_the_same_seed_draws_the_same_trials(trained):
    lots = [
        [spec.trial_id for spec in repeating.drawn(trained, "tiny", 2, seed)]
        for seed in (1, 1, 2, 3, 4)
    ]
    assert lots[0] == lots[1]
    assert any(lot != lots[0] for lot in lots)


def test_without_a_finished_trial_there_is_nothing_to_do(bnsweep, launched):
    from made_store import PENDING

    said = bnsweep("verify", "depth", "--trial", PENDING.trial_id)
    assert (said.code, said.out) == (2, "")
    assert "none of these trials is finished" in said.err
