"""ui: the address of a sweep's charts."""


def test_ui_prints_the_chart_page_of_the_last_sweep_on_the_configured_server(
    bnsweep, launched, mlflow_server, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    assert bnsweep("sync").code == 0
    said = bnsweep("ui", "--no-browser")
    assert said.code == 0
    assert said.out.startswith(f"{mlflow_server.url}/#/experiments/")
    assert said.out.rstrip().endswith("&compareRunsMode=CHART")


def test_ui_of_a_sweep_that_was_never_launched_is_a_mistake(bnsweep, launched):
    said = bnsweep("ui", "width")
    assert said.code == 2
    assert said.err.startswith("sweep width: not in ")


def test_ui_of_a_store_that_does_not_exist_says_what_to_do(bnsweep, tmp_path):
    said = bnsweep("ui", "--no-browser", "--store", tmp_path / "nowhere")
    assert said.code == 2
    assert "launch a sweep first" in said.err
