"""show on a store with a finished, a failed, a running and a pending trial."""

import json

from made_store import FAILED, FINISHED, PENDING


def test_show_says_everything_and_why_a_trial_will_not_run(bnsweep, launched):
    said = bnsweep("show", FINISHED.trial_id)
    assert "finished: not trained again" in said.out
    for text in ("bn_only", "71.25", "175258", FINISHED.config_id, "device cpu", "depth"):
        assert text in said.out


def test_show_as_json_is_one_object(bnsweep, launched):
    found = json.loads(bnsweep("show", FAILED.trial_id, "--json").out)
    assert (found["state"], found["runs"], found["sweeps"]) == ("failed", True, ["depth"])
    assert "code: ValueError: no such thing" in found["attempt 1"]


def test_a_trial_that_nothing_has_begun_can_be_shown(bnsweep, launched):
    assert "not trained yet" in bnsweep("show", PENDING.trial_id).out


def test_the_beginning_or_the_hash_of_an_id_is_enough(bnsweep, launched):
    for typed in (FAILED.trial_id[:-3], FAILED.trial_id.rpartition("-")[2]):
        assert json.loads(bnsweep("show", typed, "--json").out)["trial_id"] == FAILED.trial_id


def test_an_ambiguous_beginning_names_the_candidates(bnsweep, launched):
    said = bnsweep("show", "cifar_resnet-d14")
    assert said.code == 2
    assert said.err.startswith("trial cifar_resnet-d14: is ambiguous, it matches 4 trials: ")
    assert FINISHED.trial_id in said.err


def test_show_fits_one_screen(bnsweep, launched, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = bnsweep("show", FINISHED.trial_id).out.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80


def test_the_beginning_of_a_hash_is_enough(bnsweep, launched):
    beginning = FINISHED.trial_id.rpartition("-")[2][:5]
    assert json.loads(bnsweep("show", beginning, "--json").out)["trial_id"] == FINISHED.trial_id
