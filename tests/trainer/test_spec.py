"""The trial spec: one trial has one id however it is written, and what cannot be is refused."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from trainer.spec import TrialSpec

GOLDEN = Path(__file__).parents[1] / "golden" / "trial_ids.json"


@pytest.mark.parametrize(
    "entry", json.loads(GOLDEN.read_text()), ids=lambda entry: entry["trial_id"]
)
def test_ids_are_what_they_always_were(entry):
    spec = TrialSpec.model_validate(entry["fields"])
    assert spec.trial_id == entry["trial_id"]
    assert spec.config_id == entry["config_id"]


def test_defaults_spelled_out_change_no_id():
    plain = TrialSpec(depth=20)
    assert TrialSpec.model_validate(dict(plain)).trial_id == plain.trial_id
    assert TrialSpec(depth=20, milestones=[80, 120]).trial_id == plain.trial_id


def test_a_step_schedule_that_never_steps_is_another_trial():
    assert TrialSpec(milestones=()).trial_id != TrialSpec().trial_id


def test_the_configuration_is_the_trial_without_its_seed():
    one, two = TrialSpec(seed=1), TrialSpec(seed=2)
    assert one.config_id == two.config_id
    assert one.trial_id != two.trial_id


def test_a_changed_length_moves_the_default_milestones():
    assert TrialSpec().changed(epochs=40).milestones == (20, 30)


def test_given_milestones_stay_when_something_else_changes():
    assert TrialSpec(milestones=(7,)).changed(lr=0.2).milestones == (7,)


def test_a_spec_survives_json():
    spec = TrialSpec(depth=56, milestones=(3, 5), epochs=9)
    assert TrialSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    "fields",
    [{"depth": 14.0}, {"depth": "14"}, {"flip": 1}, {"lr": "0.1"}, {"lr": float("nan")}, {"x": 1}],
)
def test_wrong_types_and_unknown_fields_are_refused(fields):
    with pytest.raises(ValidationError):
        TrialSpec.model_validate(fields)


@pytest.mark.parametrize("name", ["Heads", "a b", "1a", "", "a" * 65])
def test_an_option_has_a_name_in_small_letters_from_its_first_on(name):
    with pytest.raises(ValidationError, match="options"):
        TrialSpec(options={name: 1})
