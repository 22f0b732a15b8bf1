"""report and compare from the command line."""

import json


def test_report_writes_the_page_and_prints_the_table(bnsweep, launched, tmp_path):
    said = bnsweep("report", "depth", "--out", tmp_path / "report")
    assert said.code == 0
    assert (tmp_path / "report" / "index.html").exists()
    assert said.out.splitlines()[0].startswith("Test accuracy")
    assert said.out.rstrip().endswith(f"figures and tables: {tmp_path / 'report' / 'index.html'}")


def test_report_of_an_unknown_sweep_is_a_mistake(bnsweep, launched):
    assert bnsweep("report", "width").code == 2


def test_compare_sets_a_sweep_beside_itself(bnsweep, launched):
    said = bnsweep("compare", "depth", "depth", "--json")
    assert said.code == 0
    assert json.loads(said.out)["metric"] == "test/accuracy"


def test_compare_of_unknown_names_is_a_mistake_without_traceback(bnsweep, launched):
    said = bnsweep("compare", "depth", "width")
    assert said.code == 2
    assert "width" in said.err
    assert "Traceback" not in said.err
