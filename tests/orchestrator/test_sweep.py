"""Sweep files: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import sweep
from orchestrator.errors import SweepError

SWEEPS = Path(__file__).parents[2] / "sweeps"


def lines_of(text: str, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(SweepError) as caught:
        sweep.parse(text, "f.yaml", overrides)
    return caught.value.lines


@pytest.mark.parametrize(("name", "trials"), [("quickstart", 12), ("smoke", 2)])
def test_a_shipped_sweep_has_its_trials(name: str, trials: int) -> None:
    loaded = sweep.load(SWEEPS / f"{name}.yaml")
    assert loaded.name == name
    assert len({trial.trial_id for trial in loaded.trials}) == trials


def test_the_order_is_the_files_with_the_last_axis_fastest_and_seeds_inside() -> None:
    text = "{name: a, axes: {depth: [14, 8], trainable: [nothing, all]}, seeds: [3, 1]}"
    trials = sweep.parse(text, "f.yaml").trials
    assert [(t.depth, t.trainable, t.seed) for t in trials][:5] == [
        (14, "nothing", 3),
        (14, "nothing", 1),
        (14, "all", 3),
        (14, "all", 1),
        (8, "nothing", 3),
    ]


def test_all_problems_of_a_file_come_at_once_with_their_lines() -> None:
    text = "nam: x\nbase:\n  depht: 14\n  lr: '0.1'\naxes:\n  trainable: [bn_onyl]\n"
    shown = lines_of(text)
    assert [line.split(": ")[:2] for line in shown] == [
        ["f.yaml:1", "nam"],
        ["f.yaml:1", "name"],
        ["f.yaml:3", "base.depht"],
        ["f.yaml:4", "base.lr"],
        ["f.yaml:6", "axes.trainable"],
    ]
    assert "did you mean name?" in shown[0]
    assert "did you mean depth?" in shown[2]
    assert "did you mean bn_only?" in shown[4]


def test_an_impossible_depth_names_its_neighbours() -> None:
    (line,) = lines_of("name: a\nbase: {width: 2}\naxes:\n  depth: [14, 13]\n")
    assert line == ("f.yaml:4: axes.depth: 13 is not 6D+2 (cifar_resnet); the nearest are 8 and 14")
