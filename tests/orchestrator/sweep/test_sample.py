"""Points of ranges: even, the same for ever, and plain trials beside the axes."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import Sweep
from orchestrator.errors import SweepError
from orchestrator.sweep import sweep_spec
from orchestrator.sweep.sample import Range, Sample
from trainer.spec import TrialSpec

WHOLE = Range("uniform", 0, 1023, whole=True)
LR = Range("log", 0.001, 1.0, whole=False)


def trials(text: str, *overrides: str) -> tuple[TrialSpec, ...]:
    return sweep_spec.parse(f"name: a\n{text}", "f.yaml", overrides).trials


def lines(text: str, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(SweepError) as caught:
        trials(text, *overrides)
    return caught.value.lines


# --- the points -----------------------------------------------------------------------------------


def test_the_points_of_a_seed_are_these_for_ever() -> None:
    """Their values are in the ids of trials: another release of a library must not move them."""
    momentum = Range("uniform", 0.5, 0.99, whole=False)
    size = Range("log", 16, 512, whole=True)
    of = {"lr": LR, "momentum": momentum, "batch_size": size, "optimizer": ("sgd", "adam")}
    rows = [tuple(point[name] for name in of) for point in Sample(4, of).points()]
    assert rows == [
        (0.009, 0.652, 77, "adam"),
        (0.285, 0.897, 440, "sgd"),
        (0.0016, 0.53, 185, "adam"),
        (0.0506, 0.775, 32, "sgd"),
    ]


@pytest.mark.parametrize("count", [1, 5, 32])
def test_more_points_are_these_and_others(count: int) -> None:
    of = {"lr": LR, "width": WHOLE}
    more = Sample(64, of).points()
    assert Sample(count, of).points() == more[:count]
    assert len({tuple(point.items()) for point in more}) == 64


def test_neither_the_order_of_the_ranges_nor_other_values_of_one_move_the_others() -> None:
    points = Sample(8, {"lr": LR, "width": WHOLE}).points()
    assert Sample(8, {"width": WHOLE, "lr": LR}).points() == points
    wider = Sample(8, {"lr": Range("log", 0.01, 10.0, whole=False), "width": WHOLE}).points()
    assert [point["width"] for point in wider] == [point["width"] for point in points]


@pytest.mark.parametrize("seed", range(3))
def test_the_points_fill_every_range_and_every_pair_of_ranges_evenly(seed: int) -> None:
    points = Sample(16, {"k": WHOLE, "width": WHOLE}, seed).points()
    assert sorted(point["k"] // 64 for point in points) == list(range(16))
    cells = {(point["k"] // 256, point["width"] // 256) for point in points}
    assert cells == set(itertools.product(range(4), repeat=2))


def test_another_seed_has_other_points() -> None:
    first, second = (Sample(16, {"lr": LR}, seed).points() for seed in (0, 1))
    assert not [point for point in first if point in second]


def test_choices_and_whole_numbers_come_equally_often() -> None:
    dice = Range("uniform", 1, 6, whole=True)
    points = Sample(96, {"optimizer": ("sgd", "adam", "adamw"), "k": dice, "lr": LR}).points()
    chosen = Counter(point["optimizer"] for point in points)
    assert set(chosen) == {"sgd", "adam", "adamw"}
    assert set(chosen.values()) <= {31, 32, 33}
    thrown = Counter(point["k"] for point in points)
    assert set(thrown) == {1, 2, 3, 4, 5, 6}
    assert set(thrown.values()) <= {15, 16, 17}


def test_points_that_come_again_are_left_out() -> None:
    small = {"optimizer": ("sgd", "adam"), "k": Range("uniform", 1, 3, whole=True)}
    points = Sample(6, small).points()
    assert len({tuple(point.items()) for point in points}) == 6
    assert len(Sample(7, small).points()) == 6


@given(
    st.sampled_from(["log", "uniform"]),
    st.lists(st.floats(1e-300, 1e300), min_size=2, max_size=2, unique=True),
    st.floats(0, 1, exclude_max=True),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_a_number_lies_within_its_range(kind, ends, share, whole) -> None:
    low, high = sorted(int(end) % 10**6 + 1 if whole else end for end in ends)
    if low == high:
        return
    value = Range(kind, low, high, whole).at(share)
    assert low <= value <= high
    assert type(value) is (int if whole else float)


@pytest.mark.parametrize(
    ("values", "digits"),
    [
        (LR, 3),
        (Range("uniform", 0.0, 1.0, whole=False), 3),
        (Range("uniform", 0.9, 0.9999, whole=False), 4),
        (Range("log", 1e-6, 1e-2, whole=False), 3),
    ],
)
def test_numbers_read_well(values: Range, digits: int) -> None:
    for point in Sample(64, {"lr": values}).points():
        mantissa = f"{point['lr']:e}".partition("e")[0].rstrip("0")
        assert len(mantissa.replace(".", "")) <= digits
    assert len({point["lr"] for point in Sample(64, {"lr": values}).points()}) == 64


# --- in a sweep -----------------------------------------------------------------------------------

SAMPLE = "sample: {count: 4, of: {lr: {log: [0.001, 1]}, batch_size: [64, 128]}}\n"


def test_each_point_is_a_plain_trial_and_the_same_for_every_value_of_the_axes() -> None:
    found = trials(f"axes: {{trainable: [all, bn_only]}}\nseeds: 2\n{SAMPLE}")
    assert len(found) == 2 * 4 * 2
    by_mode = {
        mode: [(spec.lr, spec.batch_size) for spec in found if spec.trainable == mode]
        for mode in ("all", "bn_only")
    }
    assert by_mode["all"] == by_mode["bn_only"]
    first = found[0]
    assert first == TrialSpec(lr=first.lr, batch_size=first.batch_size)
    axes = f"lr: [{first.lr}], batch_size: [{first.batch_size}]"
    assert trials(f"axes: {{{axes}}}") == (first,)


def test_a_sample_varies_what_it_names_and_goes_over_the_base() -> None:
    spec = sweep_spec.parse(f"name: a\nbase: {{lr: 7, epochs: 2}}\n{SAMPLE}", "f.yaml")
    assert spec.axes == ("lr", "batch_size")
    assert {(trial.epochs, trial.lr == 7) for trial in spec.trials} == {(2, False)}


def test_more_points_from_the_command_line_keep_the_trials() -> None:
    few, more = trials(SAMPLE), trials(SAMPLE, "sample.count=9")
    assert more[:4] == few
    assert len(more) == 9
    assert not set(few) & set(trials(SAMPLE, "sample.seed=1"))
    assert lines(SAMPLE, "lr=0.1") == ("--set lr=0.1: lr: is under sample; change it in the file",)


def test_exclude_and_include_hold_beside_a_sample() -> None:
    text = f"{SAMPLE}exclude: [{{batch_size: 64}}]\ninclude: [{{lr: 0.5}}]\n"
    found = trials(text)
    assert len(found) == 3
    assert (found[-1].lr, found[-1].batch_size) == (0.5, 128)


def test_a_rule_between_fields_is_told_with_the_line_of_the_range() -> None:
    text = "base: {bn_batch: 100}\nsample:\n  count: 1\n  of:\n    batch_size: {uniform: [5, 9]}\n"
    (line,) = lines(text)
    assert line.startswith("f.yaml:2: base.bn_batch: found 100; allowed: 0 (the whole batch) or")
    text = "sample:\n  count: 2\n  of:\n    lr: {log: [0.1, 1]}\n    train_subset: [60000, 70000]\n"
    assert lines(text)[0].startswith("f.yaml:6: sample.of.train_subset: found ")


def test_a_sample_of_too_many_trials_is_refused_before_it_is_drawn() -> None:
    text = "axes: {trainable: [all, bn_only]}\nsample: {count: 9000, of: {lr: {log: [0.1, 1]}}}"
    assert "found 18,000 trials" in lines(text)[0]


def test_python_values_make_the_same_trials() -> None:
    sample = {"count": 4, "of": {"lr": {"log": (0.001, 1)}, "batch_size": [64, 128]}}
    assert Sweep.of({"name": "a", "sample": sample}).trials == trials(SAMPLE)
