"""init: the sweep file to start from."""

import json


def test_init_writes_a_sweep_that_can_be_planned(bnsweep, tmp_path):
    said = bnsweep("init", tmp_path / "mine.yaml")
    assert (said.code, said.err) == (0, f"next: bnsweep plan {tmp_path / 'mine.yaml'}\n")
    assert json.loads(bnsweep("plan", tmp_path / "mine.yaml", "--json").out)["sweep"] == "mine"


def test_init_never_overwrites(bnsweep, tmp_path):
    (tmp_path / "mine.yaml").write_text("precious")
    said = bnsweep("init", tmp_path / "mine.yaml")
    assert said.code == 2
    assert "already exists" in said.err
    assert (tmp_path / "mine.yaml").read_text() == "precious"


def test_init_says_what_a_name_may_be(bnsweep, tmp_path):
    said = bnsweep("init", tmp_path / "My Sweep.yaml")
    assert (said.code, list(tmp_path.iterdir())) == (2, [])
    assert "a-z, 0-9" in said.err
