"""compare from the command line."""

import json


def test_compare_sets_a_sweep_beside_itself(bnsweep, launched):
    said = bnsweep("compare", "depth", "depth", "--json")
    assert said.code == 0
    assert json.loads(said.out)["metric"] == "test/accuracy"


def test_compare_of_unknown_names_is_a_mistake_without_traceback(bnsweep, launched):
    said = bnsweep("compare", "depth", "width")
    assert said.code == 2
    assert "width" in said.err
    assert "Traceback" not in said.err


def test_where_takes_fields_of_trials(bnsweep, launched):
    assert bnsweep("compare", "depth", "depth", "--where", "depth=14").code == 0
    said = bnsweep("compare", "depth", "depth", "--where", "dept=14")
    assert said.code == 2
    assert "--where dept=14: found dept; did you mean depth?" in said.err
