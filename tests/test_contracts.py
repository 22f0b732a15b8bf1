"""docs/contracts.md says what the code does: its tables and lists of keys are held against it."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from orchestrator.cli.verbs import VERBS
from orchestrator.doctor import Finding
from orchestrator.errors import INTERNAL_ERROR, UnreachableError, UserError
from orchestrator.planning import plan
from orchestrator.store.records import STATES, TrialStatus
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec
from orchestrator.tracking import tracker
from orchestrator.tracking.audit import Check
from orchestrator.tracking.forwarder import Backlog
from trainer.journal import Record
from trainer.modes import MODES
from trainer.spec import TrialSpec

TEXT = (Path(__file__).parents[1] / "docs" / "contracts.md").read_text()
SECTIONS = {
    title: text
    for title, _, text in (part.partition("\n") for part in re.split(r"^## ", TEXT, flags=re.M)[1:])
}


def first_column(section: str) -> list[str]:
    """The first cell of each row of the section's tables, without backticks and headings."""
    cells = re.findall(r"^ *\| ([^|]+?) +\|", SECTIONS[section], re.M)
    return [cell.strip("`") for cell in cells if cell not in ("verb", "mode", "code", "state")]


def names_after(beginning: str, section: str = "JSON") -> list[str]:
    """The backticked names in what remains of a sentence after its beginning."""
    sentence = re.split(r"\.\s", SECTIONS[section].split(beginning, 1)[1])[0]
    return re.findall(r"`(\w+)`", sentence)


def fields(record: type) -> list[str]:
    return [field.name for field in dataclasses.fields(record)]


@pytest.fixture
def planned(tmp_path):
    """A plan of one trial, as JSON."""
    spec = sweep_spec.parse("name: one\nbase: {depth: 8}\n", "one.yaml")
    made = plan.make(spec, Store(tmp_path))
    return spec.trials[0], json.loads(json.dumps(made.to_json()))


def test_the_table_of_verbs_is_the_command_line():
    assert first_column("Command line") == list(VERBS)


def test_the_table_of_freezing_modes_is_the_trainers():
    assert first_column("Freezing modes") == list(MODES)


def test_the_table_of_states_is_the_stores():
    assert tuple(first_column("Store")) == STATES


def test_the_exit_codes_are_those_of_the_errors():
    codes = {int(code) for code in first_column("Exit codes")}
    assert codes == {0, 1, UserError.exit_code, UnreachableError.exit_code, 4, INTERNAL_ERROR}


def test_a_trial_of_the_plan_has_the_keys_that_are_listed(planned):
    spec, printed = planned
    own = [key for key in printed["trials"][0] if key not in type(spec).model_fields]
    assert names_after("has every field of its spec and:") == own
    assert {*type(spec).model_fields} <= printed["trials"][0].keys()


def test_a_plan_and_its_totals_have_the_keys_that_are_listed(planned):
    _, printed = planned
    assert names_after("`totals` has:") == list(printed["totals"])
    assert names_after("| `plan SWEEP --json` |")[: len(printed)] == list(printed)


def test_a_trials_status_has_the_keys_that_are_listed():
    assert names_after("event of `launch --json` about a trial, has:") == fields(TrialStatus)


@pytest.mark.parametrize(
    ("command", "outer", "record"),
    [
        ("| `audit --json` |", ["ok", "mended", "checks", "sweep"], Check),
        ("| `sync --json` |", ["sweeps", "sweep"], Backlog),
        ("| `doctor --json` |", ["ok", "exit_code", "checks"], Finding),
    ],
)
def test_the_keys_of_a_record_are_those_in_the_table(command, outer, record):
    row = SECTIONS["JSON"].split(command, 1)[1].split("\n")[0]
    assert re.findall(r"`(\w+)`", row) == [*outer, *fields(record)]


def test_the_tags_are_those_that_the_forwarder_sets():
    listed = re.findall(r"`(bnsweep\.\w+)`", SECTIONS["MLflow"])
    spec = TrialSpec()
    always = tracker.tags_of("sweep", "store", spec, "pending", None)
    assert set(listed) == {*always, *tracker.FAILURE_TAGS}


def test_a_journal_line_has_the_fields_that_are_listed():
    assert names_after("**A journal line** has", "Store") == list(Record.model_fields)
