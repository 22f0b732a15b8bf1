"""Sweeps of Python values: the trials of the file that says the same, and keys in messages."""

from pathlib import Path

import numpy as np
import pytest

from orchestrator import Sweep
from orchestrator.errors import SweepError

FILE = """
name: mine
recipe: digits
base: {flip: off, milestones: [2, 4], k: 0}
axes: {lr: [0.1, 1e-5], trainable: [all, bn_only]}
paired: [{depth: [8, 14], width: [1, 2]}]
exclude: [{depth: 8, lr: 0.1}]
include: [{depth: 20, seed: 7}]
seeds: [0, 1]
resources: {gpus: 1/4, pack: off, graphs: on}
"""
VALUES = {
    "name": "mine",
    "recipe": "digits",
    "base": {"flip": False, "milestones": (2, 4), "k": np.int64(0)},
    "axes": {"lr": np.array([0.1, 1e-5]), "trainable": ["all", "bn_only"]},
    "paired": [{"depth": range(8, 15, 6), "width": [1, 2]}],
    "exclude": [{"depth": 8, "lr": 0.1}],
    "include": [{"depth": 20, "seed": 7}],
    "seeds": range(2),
    "resources": {"gpus": "1/4", "pack": "off", "graphs": True},
}


def test_values_mean_what_the_file_with_them_means():
    mine, file = Sweep.of(VALUES), Sweep.parse(FILE)
    assert mine.trials == file.trials
    assert mine.spec.resources == file.spec.resources
    assert mine.spec.axes == file.spec.axes


def test_what_is_stored_of_them_is_a_sweep_file_of_the_same_trials():
    sweep = Sweep.of({**VALUES, "description": 'Größe "groß" 😀'})
    again = Sweep.parse(sweep.spec.source)
    assert again.trials == sweep.trials
    assert again.spec.description == 'Größe "groß" 😀'


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"axes": {"depth": [13]}}, "axes.depth: found 13; allowed for cifar_resnet: 6D+2"),
        ({"axes": {"depht": [8]}}, "axes.depht: unknown field; did you mean depth?"),
        ({"axes": {"depth": ["8"]}}, 'axes.depth: found "8" (text; numbers stand without quotes)'),
        ({"axes": {"lr": {0.1, 0.2}}}, "axes.lr: found a set; allowed: numbers, text, true"),
        ({"include": [{"lr": 1j}]}, "include[0].lr: found a complex; allowed: numbers, text"),
        ({"base": {3: 4}}, "base: found 3 as a key; allowed: text"),
        ({"base": {"lr": float("nan")}}, "base.lr: found NaN; allowed: a number of at least 0"),
        ({"seeds": 0}, "seeds: found 0; allowed: a whole number from 1"),
    ],
)
def test_a_mistake_is_a_line_that_names_the_key(values, line):
    with pytest.raises(SweepError) as error:
        Sweep.of({"name": "mine", **values})
    (said,) = error.value.lines
    assert said.startswith(f"Sweep.of: {line}")


def test_all_mistakes_are_told_at_once():
    with pytest.raises(SweepError) as error:
        Sweep.of({"name": "Mine", "axes": {"depth": [13, "8"]}})
    assert len(error.value.lines) == 3


@pytest.mark.parametrize("values", [5, [1], None, "name: mine"])
def test_what_is_no_mapping_is_refused(values):
    with pytest.raises(SweepError, match=r"^Sweep\.of: found .*; allowed: a mapping with name"):
        Sweep.of(values)


def test_values_that_contain_themselves_are_refused():
    values = {"name": "mine"}
    values["base"] = values
    with pytest.raises(SweepError, match="contain themselves"):
        Sweep.of(values)


def test_paths_are_from_here(tmp_path, monkeypatch):
    (tmp_path / "w.pt").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    sweep = Sweep.of({"name": "mine", "base": {"weights_file": Path("w.pt")}})
    assert list(sweep.spec.files.values()) == [tmp_path / "w.pt"]
