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


def test_the_best_of_sweeps_without_validation_are_compared_only_where_that_is_said(
    bnsweep, launched
):
    said = bnsweep("compare", "depth", "depth", "--best")
    assert (said.code, "keep no images for validation" in said.err) == (2, True)
    said = bnsweep("compare", "depth", "depth", "--best", "--on-test-images")
    assert (said.code, "no configuration has finished all its seeds" in said.err) == (2, True)
    said = bnsweep("compare", "depth", "depth", "--on-test-images")
    assert (said.code, "allowed: with --best" in said.err) == (2, True)


def test_where_takes_fields_of_trials(bnsweep, launched):
    assert bnsweep("compare", "depth", "depth", "--where", "depth=14").code == 0
    said = bnsweep("compare", "depth", "depth", "--where", "dept=14")
    assert said.code == 2
    assert "--where dept=14: found dept; did you mean depth?" in said.err
