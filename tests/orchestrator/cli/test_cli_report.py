"""report from the command line."""


def test_report_writes_the_page_and_prints_the_table(bnsweep, launched, tmp_path):
    said = bnsweep("report", "depth", "--out", tmp_path / "report")
    assert said.code == 0
    assert (tmp_path / "report" / "index.html").exists()
    assert said.out.splitlines()[0].startswith("Test accuracy")
    assert said.out.rstrip().endswith(f"figures and tables: {tmp_path / 'report' / 'index.html'}")


def test_by_default_the_report_lies_in_the_sweep_s_folder(bnsweep, launched):
    assert bnsweep("report", "depth").code == 0
    assert (launched.sweep_folder("depth") / "report" / "index.html").exists()


def test_report_of_an_unknown_sweep_is_a_mistake(bnsweep, launched):
    assert bnsweep("report", "width").code == 2
