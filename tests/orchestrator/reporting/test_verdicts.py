import pytest
from made_results import made

from orchestrator.reporting.published import published
from orchestrator.reporting.replicates import gather
from orchestrator.reporting.verdicts import MARGIN, deviations, judge, paper_protocol
from trainer.spec import TrialSpec

SPEC = TrialSpec(depth=14, trainable="bn_only")
ROWS = [
    row
    for row in published()
    if row.matches(SPEC) and row.kind == "accuracy" and row.source.startswith("preprint")
]


def verdict(accuracies, spec=SPEC, **options):
    results = [made(spec.changed(seed=s), a, **options) for s, a in enumerate(accuracies)]
    (found,) = judge(ROWS, gather(results))
    return found


def test_the_published_value_for_the_example_is_48():
    assert [(row.value, row.precision) for row in ROWS] == [(48.0, 0.5)]


def test_close_values_with_little_spread_are_reproduced():
    found = verdict([48.1, 47.9, 48.2, 48.0, 48.3])
    assert (found.outcome, found.protocol) == ("reproduced", ())
    assert found.ours.n == 5
    assert found.difference == pytest.approx(0.1)
    assert found.margin == MARGIN + 0.5


def test_values_beyond_the_margin_deviate():
    assert verdict([51.1, 50.9, 51.2, 51.0, 51.3]).outcome == "deviates"


def test_one_seed_is_too_few_even_when_it_is_the_very_value():
    assert verdict([48.0]).outcome == "too few seeds"


def test_a_wide_interval_is_not_a_reproduction_and_says_how_many_seeds_would_decide():
    found = verdict([46.0, 50.0])
    assert (found.outcome, found.seeds_to_decide) == ("not decided", None)
    narrower = verdict([47.5, 48.6])
    assert narrower.outcome == "not decided"
    assert abs(narrower.difference) + narrower.half_width > narrower.margin
    assert 3 <= narrower.seeds_to_decide <= 6


def test_the_seeds_said_to_decide_do_decide_where_mean_and_spread_stay():
    def with_a_spread_of_one(n):
        away = ((n - 1) / 2) ** 0.5
        return [48.0 - away, 48.0 + away, *[48.0] * (n - 2)]

    needed = verdict(with_a_spread_of_one(3)).seeds_to_decide
    assert verdict(with_a_spread_of_one(needed)).outcome == "reproduced"
    assert verdict(with_a_spread_of_one(needed - 1)).outcome == "not decided"


def test_seeds_cannot_make_up_for_the_published_value_s_own_error():
    """At the margin's edge five published seeds leave more open than is left to the margin."""
    found = verdict([49.2, 48.8, 49.6, 49.2, 49.2])
    assert (found.outcome, found.seeds_to_decide) == ("not decided", None)


def test_equal_accuracies_are_tested_with_the_binomial_error_of_the_test_images():
    """The difference of 0.8 is below the margin, but 10,000 images do not show it to be."""
    found = verdict([48.8, 48.8])
    assert found.outcome == "not decided"
    assert found.half_width > 1


def test_one_cell_has_one_verdict_from_its_most_precise_source():
    spec = TrialSpec(depth=110, trainable="bn_only")
    results = [made(spec.changed(seed=s), a) for s, a in enumerate([69.4, 69.7, 69.6])]
    (found,) = [v for v in judge(published(), gather(results)) if v.ours and v.margin]
    assert (found.published.value, found.published.precision) == (69.5, 0.05)
    assert sorted(row.value for row in found.others) == [69.5, 69.7, 69.7]


def test_a_two_epoch_run_is_never_a_reproduction():
    short = SPEC.changed(epochs=2)
    found = verdict([48.0, 48.1, 47.9], spec=short)
    assert found.outcome == "other protocol"
    assert "epochs 2 (paper: 160)" in found.protocol
    assert "milestones 1 (paper: 80 120)" in found.protocol


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"batch_size": 256}, "batch_size 256 (paper: 128)"),
        ({"precision": "bf16"}, "precision bf16 (paper: fp32)"),
        ({"train_subset": 5000}, "train_subset 5000 (paper: 0)"),
        ({"weight_decay": 0.0}, "weight_decay 0 (paper: 0.0001)"),
    ],
)
def test_each_deviation_from_the_protocol_is_named(change, line):
    found = verdict([48.0, 48.1, 47.9], spec=SPEC.changed(**change))
    assert (found.outcome, found.protocol) == ("other protocol", (line,))


def test_an_inexact_resume_is_a_deviation_and_a_pack_is_not():
    """A pack's members have the bits of a trial alone."""
    assert verdict([48.0, 48.1], packed=8).protocol == ()
    assert verdict([48.0, 48.1], exact=False).protocol == ("resumed under other numerics",)


def test_a_value_without_results_is_not_run():
    (found,) = judge(ROWS, [])
    assert (found.outcome, found.ours) == ("not run", None)


def test_other_data_is_another_configuration_not_a_reproduction():
    digits = [made(SPEC.changed(dataset="digits", seed=s), 48.0) for s in (0, 1)]
    assert judge(ROWS, gather(digits))[0].outcome == "not run"


def test_results_of_two_versions_of_the_code_get_a_verdict_each():
    results = [made(SPEC.changed(seed=s), 48.0, code="ab"[s] * 64) for s in (0, 1)]
    found = judge(ROWS, gather(results))
    assert [(v.outcome, v.ours.n) for v in found] == [("too few seeds", 1)] * 2
    assert found[0].flag != found[1].flag


def test_parameter_counts_are_reproduced_exactly_or_not_at_all():
    rows = [row for row in published() if row.kind == "count" and row.matches(SPEC)]
    result = made(SPEC)
    assert {v.outcome for v in judge(rows, gather([result]))} == {"reproduced"}
    fewer = result.model_copy(update={"counts": result.counts.model_copy(update={"bn": 1_000})})
    outcomes = {v.published.target: v.outcome for v in judge(rows, gather([fewer]))}
    assert outcomes == {
        "total": "reproduced",
        "bn": "deviates",
        "output": "reproduced",
        "shortcut": "reproduced",
    }


def test_the_paper_s_own_recipes_have_no_deviations():
    for spec in (
        TrialSpec(depth=110),
        paper_protocol(TrialSpec(model="imagenet_resnet", depth=50, dataset="imagenet")),
    ):
        assert deviations(gather([made(spec)])[0]) == ()
    imagenet = TrialSpec(model="imagenet_resnet", depth=50, dataset="imagenet", epochs=90)
    assert "batch_size 128 (paper: 1024)" in deviations(gather([made(imagenet)])[0])


def test_a_value_that_the_paper_does_not_publish_is_called_assumed():
    paper = paper_protocol(TrialSpec(model="imagenet_resnet", depth=50, dataset="imagenet"))
    whole_batch = paper.changed(bn_batch=0)
    assert deviations(gather([made(whole_batch)])[0]) == ("bn_batch 0 (assumed: 256)",)


def test_other_data_than_the_paper_s_comes_first_among_the_deviations():
    spec = TrialSpec(dataset="digits", depth=14, epochs=20)
    found = deviations(gather([made(spec)])[0])
    assert found[0] == "dataset digits (paper: cifar10 or imagenet)"
    assert "epochs 20 (paper: 160)" in found
