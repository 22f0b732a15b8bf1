"""AGENTS.md says what the command line does: its verbs, exit codes and JSON keys exist."""

import json
import re
from pathlib import Path

import pytest
from made_store import FAILED, FINISHED

from orchestrator.cli.verbs import VERBS
from orchestrator.errors import INTERNAL_ERROR, UnreachableError, UserError
from orchestrator.store.records import STATES

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "AGENTS.md").read_text()
CONTRACTS = (ROOT / "docs" / "contracts.md").read_text()
SECTIONS = dict(part.split("\n", 1) for part in re.split(r"^## ", TEXT, flags=re.M)[1:])
ROWS = {
    cells[0].strip(" `"): cells
    for line in SECTIONS["Verbs"].splitlines()
    if len(cells := line.strip("|").split("|")) == 3 and "`" in cells[0]
}


def keys_of(verb):
    return re.findall(r"`(\w+)`", ROWS[verb][2])


def printed(said):
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_help_agents_prints_the_repositorys_page(bnsweep):
    assert (ROOT / "AGENTS.md").is_symlink()
    said = bnsweep("help", "agents")
    assert (said.code, said.out, said.err) == (0, TEXT, "")


def test_its_commands_are_shown_as_the_caller_types_them(bnsweep, monkeypatch):
    monkeypatch.setenv("BNSWEEP_CALLED", "./bnsweep")
    assert "\n./bnsweep launch FILE --detach" in bnsweep("help", "agents").out


def test_help_of_a_verb_is_the_verbs_help(bnsweep):
    assert bnsweep("help", "plan").out == bnsweep("plan", "--help").out
    assert bnsweep("help").out == bnsweep("--help").out
    said = bnsweep("help", "agent")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("help agent: no such topic; allowed: agents, or a verb")


def test_its_table_of_verbs_is_the_command_line():
    assert list(ROWS) == list(VERBS)


def test_its_exit_codes_are_those_of_the_errors():
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", SECTIONS["Exit codes"], re.M)}
    assert codes == {0, 1, UserError.exit_code, UnreachableError.exit_code, 4, INTERNAL_ERROR}


@pytest.mark.parametrize(
    "verb", ["audit", "sync", "compare", "best", "doctor", "plan", "push", "pull"]
)
def test_the_keys_of_a_verb_are_those_that_are_promised(verb):
    row = next(r for r in CONTRACTS.splitlines() if r.startswith("| `") and f"`{verb} " in r)
    assert keys_of(verb)
    assert set(keys_of(verb)) <= set(re.findall(r"`(\w+)`", row))


def test_the_keys_of_status_are_what_it_prints(bnsweep, launched):
    of_all, of_one = (printed(bnsweep("status", *name, "--json")) for name in ((), ("depth",)))
    assert keys_of("status") == [*of_all, *of_one]
    assert set(of_one["counts"]) == set(STATES)
    progress = SECTIONS["What counts as progress"]
    listed = re.findall(r"`(\w+)`", progress.split("Of a trial read", 1)[1].split("\n\n", 1)[0])
    assert {"trial_id", "seconds_left"} < set(listed)
    assert set(listed) <= of_one["trials"][0].keys()


def test_the_keys_of_the_others_are_what_they_print(bnsweep, launched, tmp_path, monkeypatch):
    write = "orchestrator.cli.commands.export.write_network"
    monkeypatch.setattr(write, lambda *_: "written")
    export = printed(bnsweep("export", FINISHED.trial_id, tmp_path / "model.pt", "--json"))
    assert keys_of("export") == list(export)
    for verb in ("push", "pull"):
        assert keys_of(verb) == list(printed(bnsweep(verb, tmp_path / "shared", "--json")))
    assert keys_of("discard") == list(printed(bnsweep("discard", FAILED.trial_id, "--json")))
    assert keys_of("gc") == list(printed(bnsweep("gc", "--json")))


def test_options_that_it_names_are_offered(bnsweep):
    for command in re.findall(r"^bnsweep (\w+)(.*?)(?: {2,}|$)", TEXT, re.M):
        verb, rest = command
        offered = bnsweep(verb, "--help").out
        for option in re.findall(r"(?<=\s)--?[a-z-]+", rest):
            assert option in offered, (verb, option)
