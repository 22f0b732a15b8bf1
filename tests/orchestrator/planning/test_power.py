"""plan --power: how many seeds a difference costs, from the spread that the store has seen."""

import json
import random

import pytest
from made_results import made

from orchestrator.planning import plan, power
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec
from trainer import files, results

TEXT = "name: tiny\nbase: {depth: 8, epochs: 2}\naxes: {trainable: [all, bn_only]}\nseeds: 3\n"
SPREAD = (49.0, 50.0, 51.0)


def finish(store, spec, accuracy):
    folder = store.trial_folder(spec.trial_id)
    folder.mkdir(parents=True)
    files.write_json(folder / results.SPEC, spec)
    results.write(folder / results.RESULT, made(spec, accuracy))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.open_for_writing()
    return store


def powered(store, points, text=TEXT):
    return power.power(plan.make(sweep_spec.parse(text, "tiny.yaml"), store), store, points)


def test_a_store_without_two_seeds_says_nothing(store):
    assert powered(store, 1.0) is None
    finish(store, sweep_spec.parse(TEXT, "tiny.yaml").trials[0], 50.0)
    assert powered(store, 1.0) is None


def test_the_spread_is_pooled_within_the_plans_configurations(store):
    trials = sweep_spec.parse(TEXT, "tiny.yaml").trials
    for spec, accuracy in zip(trials, (*SPREAD, *(value + 20 for value in SPREAD)), strict=True):
        finish(store, spec, accuracy)
    found = powered(store, 1.0)
    assert (found.spread, found.configurations, found.trials) == (1.0, 2, 6)
    assert (found.alike, found.planned_seeds) == (False, 3)


def test_configurations_like_them_are_taken_where_these_have_none(store):
    for spec, accuracy in zip(sweep_spec.parse(TEXT, "t.yaml").trials, SPREAD * 2, strict=True):
        finish(store, spec, accuracy)
    deeper = TEXT.replace("depth: 8", "depth: 14")
    assert powered(store, 1.0, deeper).alike
    assert powered(store, 1.0, deeper.replace("epochs: 2", "epochs: 2, dataset: digits")) is None


def test_more_seeds_are_wanted_for_less_and_too_many_are_not_named():
    counts = [power.seeds_for(points, 0.5) for points in (5.0, 1.0, 0.5, 0.25)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert power.seeds_for(0.001, 0.5) is None
    assert power.seeds_for(1.0, 0.0) == 2


@pytest.mark.parametrize(("points", "spread"), [(1.0, 0.5), (0.5, 0.5), (3.0, 0.5)])
def test_the_test_finds_the_difference_as_often_as_it_is_said(points, spread):
    """Simulated: so many seeds give a power of 80 %, and one seed fewer does not."""
    from scipy.stats import ttest_rel

    lot = random.Random(0)
    seeds = power.seeds_for(points, spread)

    def found(difference, count, rounds=2000):
        def values(mean):
            return [[lot.gauss(mean, spread) for _ in range(count)] for _ in range(rounds)]

        return (ttest_rel(values(difference), values(0.0), axis=1).pvalue < power.LEVEL).mean()

    assert found(points, seeds) == pytest.approx(power.chance(points, spread, seeds), abs=0.03)
    assert found(points, seeds) >= power.POWER - 0.03
    assert found(0.0, seeds) == pytest.approx(power.LEVEL, abs=0.02)
    if seeds > 2:
        assert power.chance(points, spread, seeds - 1) < power.POWER


def test_the_plan_says_it_in_words_and_as_json(bnsweep, store, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TEXT)
    assert "to tell 0.5 points apart: unknown" in bnsweep("plan", path, "--power", 0.5).out
    for spec, accuracy in zip(sweep_spec.parse(TEXT, "t.yaml").trials, SPREAD * 2, strict=True):
        finish(store, spec, accuracy)
    words = " ".join(bnsweep("plan", path, "--power", 0.5).out.split())
    found = json.loads(bnsweep("plan", path, "--power", 0.5, "--json").out)["power"]
    assert f"apart: {found['seeds']} seeds of each configuration, 3 are planned" in words
    assert found["spread"] == 1.0
