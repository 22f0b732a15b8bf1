import csv
import io
import json

import pytest
from made_results import made

from orchestrator.errors import UserError
from orchestrator.reporting.compare import Side, compare, side_by_side
from orchestrator.reporting.replicates import gather
from orchestrator.store.records import Launch
from orchestrator.store.store import Store
from trainer import files, results
from trainer.spec import TrialSpec

BASE = TrialSpec(epochs=2)


def side(name, runs):
    return Side(name, tuple(gather(runs)))


def seeds(spec, accuracies, **options):
    return [made(spec.changed(seed=s), a, **options) for s, a in accuracies.items()]


def test_two_configurations_make_one_row_paired_by_seed():
    found = side_by_side(
        [
            side("all", seeds(BASE, {0: 90.0, 1: 80.0, 2: 70.0})),
            side("bn", seeds(BASE.changed(trainable="bn_only"), {0: 50.0, 1: 40.2, 2: 30.1})),
        ]
    )
    (row,) = found.rows
    assert row.point == {}
    assert [e.n for e in row.estimates] == [3, 3]
    assert row.differences[0].mean == pytest.approx(-39.9)
    assert row.differences[0].half_width < 0.3 < row.estimates[0].half_width


def test_only_seeds_that_both_sides_have_are_paired():
    found = side_by_side(
        [side("a", seeds(BASE, {0: 90.0, 1: 91.0})), side("b", seeds(BASE, {1: 92.0, 2: 50.0}))]
    )
    assert found.rows[0].differences[0].n == 1
    assert found.rows[0].differences[0].mean == pytest.approx(1.0)
    assert found.rows[0].differences[0].half_width is None


def test_sweeps_are_matched_by_the_axes_that_vary_in_them():
    def sweep(lr, gain):
        return [
            made(BASE.changed(lr=lr, depth=d, trainable=m, seed=s), 10.0 + d + gain + s)
            for d in (14, 32)
            for m in ("all", "bn_only")
            for s in (0, 1)
        ]

    found = side_by_side([side("low", sweep(0.1, 0.0)), side("high", sweep(0.2, 3.0))])
    assert [row.point for row in found.rows][:2] == [
        {"depth": "14", "trainable": "all"},
        {"depth": "14", "trainable": "bn_only"},
    ]
    assert all(row.differences[0].mean == pytest.approx(3.0) for row in found.rows)


def test_a_point_that_one_side_lacks_has_no_difference():
    depths = [*seeds(BASE, {0: 50.0}), *seeds(BASE.changed(depth=32), {0: 60.0})]
    found = side_by_side([side("a", depths), side("b", depths[:1])])
    assert found.rows[1].estimates[1] is None
    assert found.rows[1].differences == (None,)
    assert found.table().rows[1] == ["32", "60.0 (1)", "–", "–"]


def test_sides_of_different_types_of_gpu_are_flagged():
    gpus = [{"device": "cuda", "device_name": name} for name in ("NVIDIA A100", "NVIDIA H100")]
    first, second = (seeds(BASE, {0: 50.0}, **gpu) for gpu in gpus)
    found = side_by_side([side("a", first), side("b", second)])
    assert found.rows[0].flags == ("computed on different types of device",)
    assert side_by_side([side("a", first), side("b", first)]).rows[0].flags == ()


def test_other_code_is_flagged_and_not_averaged():
    runs = [*seeds(BASE, {0: 10.0}, code="a" * 64), *seeds(BASE, {1: 90.0}, code="b" * 64)]
    found = side_by_side([side("a", runs), side("b", seeds(BASE, {0: 11.0}, code="a" * 64))])
    assert [row.estimates[0].mean for row in found.rows] == [10.0, 90.0]
    assert "the sides were computed with different code" in found.rows[1].flags
    assert any("code aaaaaaaa" in flag for flag in found.rows[0].flags)


def test_three_sides_are_each_compared_with_the_first():
    sides = [side(n, seeds(BASE, {0: a, 1: a + 1})) for n, a in (("a", 1), ("b", 3), ("c", 7))]
    found = side_by_side(sides)
    assert [d.mean for d in found.rows[0].differences] == [2.0, 6.0]
    assert found.table().columns == ["a", "b", "c", "b − a", "c − a"]
    assert found.table().rows[0][3] == "+2.0 ± 0.0 (2)"


def test_csv_has_a_line_for_each_point_and_side_and_json_every_number():
    runs = [*seeds(BASE, {0: 50.0, 1: 51.0}), *seeds(BASE.changed(depth=32), {0: 60.0, 1: 62.0})]
    found = side_by_side([side("a", runs), side("b", runs)])
    lines = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [(line["depth"], line["side"]) for line in lines] == [
        ("14", "a"),
        ("14", "b"),
        ("32", "a"),
        ("32", "b"),
    ]
    assert lines[0]["difference_mean"] == ""
    assert float(lines[3]["mean"]) == 61.0
    assert float(lines[3]["difference_mean"]) == 0.0
    data = json.loads(json.dumps(found.to_json()))
    assert data["rows"][1]["estimates"][0]["n"] == 2
    assert data["sides"] == ["a", "b"]


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.open_for_writing()
    specs = [BASE.changed(trainable=m, seed=s) for m in ("all", "bn_only") for s in (0, 1)]
    for number, spec in enumerate(specs):
        folder = store.trial_folder(spec.trial_id)
        folder.mkdir(parents=True)
        files.write_json(folder / results.SPEC, spec)
        results.write(folder / results.RESULT, made(spec, 50.0 + number))
    trials = tuple(spec.identity_fields() for spec in specs)
    store.record_launch(
        Launch(sweep={"name": "one", "trials": trials}, number=0, time_ms=0, host="here")
    )
    store.record_launch(Launch(sweep={"name": "idle"}, number=0, time_ms=0, host="here"))
    return store


def test_names_are_sweeps_or_beginnings_of_configurations(store):
    found = compare(store, ["cifar_resnet-d14-w1-all", "cifar_resnet-d14-w1-bn_only"])
    assert found.rows[0].differences[0].mean == 2.0
    assert found.table().columns[2] == "second − first"
    first, second = BASE.changed(trainable="all"), BASE.changed(trainable="bn_only", seed=1)
    hashes = [first.config_id.rpartition("-")[2], second.trial_id.rpartition("-")[2][:6]]
    by_hash = compare(store, hashes)
    assert by_hash.rows == found.rows
    assert by_hash.sides == (hashes[0], second.config_id)  # a trial stands for all its seeds
    whole = compare(store, ["one", "one"])
    assert [row.point for row in whole.rows] == [{"trainable": "all"}, {"trainable": "bn_only"}]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["one"], "needs two or more"),
        (["one", "cifar_resnet-d14"], "stands for several configurations"),
        (["one", "nowhere"], "nowhere: no sweep or configuration"),
        (["one", "idle"], "sweep idle: no trial has finished"),
    ],
)
def test_a_name_that_cannot_be_compared_says_why(store, names, message):
    with pytest.raises(UserError, match=message):
        compare(store, names)


def test_it_says_in_what_the_sides_differ_and_heads_configurations_by_that(store):
    found = compare(store, ["cifar_resnet-d14-w1-all", "cifar_resnet-d14-w1-bn_only"])
    assert found.differs == {"trainable": ("all", "bn_only")}
    assert found.table().columns == ["all", "bn_only", "second − first"]
    assert "trainable: all against bn_only" in found.table().notes
    low, high = (side(n, seeds(BASE.changed(lr=n), {0: 50.0})) for n in (0.001, 0.01))
    assert side_by_side([low, high]).differs == {"lr": ("0.001", "0.01")}
    depths = [*seeds(BASE, {0: 50.0}), *seeds(BASE.changed(depth=32), {0: 60.0})]
    assert side_by_side([side("a", depths), side("b", depths)]).differs == {}


def test_a_mode_of_a_sweep_is_a_side_and_where_chooses_configurations(store):
    modes = compare(store, ["one:all", "one:bn_only"])
    assert (modes.sides, modes.rows[0].differences[0].mean) == (("one:all", "one:bn_only"), 2.0)
    chosen = compare(store, ["one", "one"], where={"trainable": {"bn_only"}})
    assert [row.estimates[0].mean for row in chosen.rows] == [52.5]
    with pytest.raises(UserError, match="one:stem: sweep one has no such mode; allowed: all, bn_"):
        compare(store, ["one", "one:stem"])
    with pytest.raises(UserError, match="one: no finished configuration has depth=32"):
        compare(store, ["one", "one"], where={"depth": {"32"}})


def test_a_metric_that_no_result_has_is_a_mistake(store):
    with pytest.raises(UserError, match=r"--metric test/acc: no result has it; allowed: .*test/ac"):
        compare(store, ["one", "one"], "test/acc")


def test_small_numbers_have_three_decimals():
    def losses(spec, value):
        runs = seeds(spec, {0: 1.0, 1: 1.0})
        metrics = ({"test/loss": value + r.spec.seed / 100} for r in runs)
        return [r.model_copy(update={"metrics": m}) for r, m in zip(runs, metrics, strict=True)]

    sides = [side(n, losses(BASE.changed(lr=v), v)) for n, v in (("a", 2.3), ("b", 2.1))]
    (row,) = side_by_side(sides, "test/loss").table().rows
    assert row == ["2.305 ± 0.064 (2)", "2.105 ± 0.064 (2)", "-0.200 ± 0.000 (2)"]
