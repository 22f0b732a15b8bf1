"""How often the report is wrong, by simulation: the paper's experiments repeated with seed noise.

Each trial's accuracy is normal around the paper's mean, in whole test images. The published value
is such a repetition too: the mean of the paper's seeds, misread by up to its precision. The rates
that are promised are in the table of `verdicts.py`; the bounds here leave room for chance (two to
three standard errors of the number of repetitions).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from made_results import made

from orchestrator.reporting.published import published
from orchestrator.reporting.replicates import ACCURACY, Replicates
from orchestrator.reporting.statements import check
from orchestrator.reporting.verdicts import MARGIN, judge
from trainer.spec import TrialSpec

PAPER_SEEDS = 5
FIVE_PERCENT, TWO_AND_A_HALF_PERCENT = 0.07, 0.05
"""Bounds for those promised rates, with room for chance."""
ACCURACIES = [row for row in published() if row.kind == "accuracy" and row.dataset == "cifar10"]
DEPTHS, WIDTHS = (14, 32, 56, 110, 218, 434, 866), (1, 2, 4, 8, 16, 32)


@cache
def templates(spec, seeds):
    return [made(spec.changed(seed=seed)) for seed in range(seeds)]


def replicates(spec, accuracies):
    """A configuration with these accuracies, one for each seed."""
    results = [
        template.model_copy(update={"metrics": {ACCURACY: round(float(accuracy), 2)}})
        for template, accuracy in zip(templates(spec, len(accuracies)), accuracies, strict=True)
    ]
    return Replicates(results[0].spec, tuple(results), "")


def row_of(depth, mode, precision, width=1):
    """The published row of a network and mode with this precision."""
    return next(
        row
        for row in ACCURACIES
        if (row.depth, row.width, row.mode, row.precision) == (depth, width, mode, precision)
    )


def spec_of(row):
    return TrialSpec(depth=row.depth, width=row.width, trainable=row.mode)


def outcomes(row, *, difference, noise, seeds, times):
    """Verdicts on `row` where our true mean lies `difference` from the paper's."""
    draw = np.random.default_rng(0)
    verdicts = []
    for _ in range(times):
        theirs = draw.normal(row.value, noise, PAPER_SEEDS).mean()
        printed = theirs + draw.uniform(-row.precision, row.precision)
        ours = replicates(spec_of(row), draw.normal(row.value + difference, noise, seeds))
        (verdict,) = judge([replace(row, value=printed)], [ours])
        verdicts.append(verdict.outcome)
    return verdicts


def rate(wanted, seen):
    return seen.count(wanted) / len(seen)


@pytest.mark.parametrize(
    ("precision", "noise", "seeds"), [(0.05, 0.5, 5), (0.05, 1.0, 5), (0.5, 0.5, 5), (0.5, 0.5, 3)]
)
def test_at_the_margin_one_verdict_in_twenty_is_wrong_in_either_direction(precision, noise, seeds):
    row = row_of(110, "bn_only", precision)
    seen = outcomes(row, difference=MARGIN + precision, noise=noise, seeds=seeds, times=1_000)
    assert rate("reproduced", seen) <= FIVE_PERCENT
    assert rate("deviates", seen) <= FIVE_PERCENT


def test_a_perfect_reproduction_deviates_almost_never_and_is_mostly_recognised_at_five_seeds():
    for mode, noise in (("bn_only", 0.5), ("all", 0.3)):
        seen = outcomes(row_of(110, mode, 0.5), difference=0, noise=noise, seeds=5, times=300)
        assert rate("deviates", seen) <= 0.01
        assert rate("reproduced", seen) >= 0.75


def statement_outcomes(name, curves, *, noise, times=400):
    """What the report says of a statement where each configuration's true mean is as given."""
    draw = np.random.default_rng(0)
    seen = []
    for _ in range(times):
        groups = [replicates(spec, draw.normal(mean, noise, PAPER_SEEDS)) for spec, mean in curves]
        seen += [shape.outcome for shape in check(groups) if shape.name == name]
    return seen


def paper_curve(mode, *, along):
    rows = [row_of(depth, mode, 0.5) for depth in DEPTHS]
    if along == "width":
        rows = [row_of(14, mode, 0.5, width) for width in WIDTHS]
    return [(spec_of(row), row.value) for row in rows]


@pytest.mark.parametrize("noise", [0.3, 1.0])
@pytest.mark.parametrize(
    ("name", "mode", "along"),
    [
        ("bn_only rises with depth", "bn_only", "depth"),
        ("bn_only rises with width", "bn_only", "width"),
        ("shortcut_output falls with depth", "shortcut_output", "depth"),
        ("shortcut_output rises with width", "shortcut_output", "width"),
    ],
)
def test_the_paper_s_own_curves_hold_and_are_hardly_ever_refuted(name, mode, along, noise):
    seen = statement_outcomes(name, paper_curve(mode, along=along), noise=noise, times=200)
    assert rate("does not hold", seen) <= 0.01
    assert rate("holds", seen) >= (0.9 if noise < 0.5 else 0.3)


def test_a_curve_of_equal_steps_is_refuted_by_one_error_rate_for_all_its_steps():
    level = [(TrialSpec(depth=depth, trainable="bn_only"), 60.0) for depth in DEPTHS]
    seen = statement_outcomes("bn_only rises with depth", level, noise=0.5)
    assert rate("does not hold", seen) <= TWO_AND_A_HALF_PERCENT
    assert rate("holds", seen) == 0


@pytest.mark.parametrize(
    ("worth", "wrong"),
    [(0.45, "holds"), (2.5, "holds"), (0.5, "does not hold"), (2.0, "does not hold")],
)
def test_the_size_of_training_bn_is_judged_wrongly_in_one_of_forty_at_its_ends(worth, wrong):
    curves = [(TrialSpec(), 92.0 + worth), (TrialSpec(trainable="all_but_bn"), 92.0)]
    seen = statement_outcomes("size of training BN", curves, noise=0.25)
    assert rate(wrong, seen) <= TWO_AND_A_HALF_PERCENT
