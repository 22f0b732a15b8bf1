import pytest
from made_results import made

from orchestrator.reporting.replicates import gather
from orchestrator.reporting.statements import BELOW, check
from trainer.spec import TrialSpec


def outcome(name, results):
    (shape,) = [shape for shape in check(gather(results)) if shape.name == name]
    return shape


def runs(trainable, accuracies, **fields):
    spec = TrialSpec(trainable=trainable, **fields)
    return [made(spec.changed(seed=s), a) for s, a in enumerate(accuracies)]


def test_bn_only_that_rises_at_every_step_holds():
    results = [
        *runs("bn_only", [48.0, 48.2], depth=14),
        *runs("bn_only", [57.0, 57.3], depth=32),
        *runs("bn_only", [63.0, 63.1], depth=56),
    ]
    found = outcome("bn_only rises with depth", results)
    assert found.outcome == "holds"
    assert found.evidence[0] == "depth 14 → 32: +9.0 ± 0.6 (n 2)"
    assert len(found.evidence) == 2


def test_one_clear_fall_refutes_it():
    results = [*runs("bn_only", [48.0, 48.2], depth=14), *runs("bn_only", [41.0, 41.3], depth=32)]
    found = outcome("bn_only rises with depth", results)
    assert (found.outcome, found.evidence) == (
        "does not hold",
        ("depth 14 → 32: -7.0 ± 0.6 (n 2)",),
    )


def test_one_seed_decides_nothing():
    results = [*runs("bn_only", [48.0], depth=14), *runs("bn_only", [57.0], depth=32)]
    assert outcome("bn_only rises with depth", results).outcome == "undecided"


def test_one_depth_is_not_run():
    assert outcome("bn_only rises with depth", runs("bn_only", [48.0, 48.1])).outcome == "not run"


def test_a_fall_towards_chance_is_a_rise_downwards():
    results = [
        *runs("shortcut_output", [49.0, 49.1], depth=14),
        *runs("shortcut_output", [19.0, 19.4], depth=110),
    ]
    assert outcome("shortcut_output falls with depth", results).outcome == "holds"


def test_modes_are_compared_at_each_network_and_paired_by_seed():
    results = [
        *runs("bn_only", [48.0, 58.0], depth=14),
        *runs("random_k", [47.0, 57.1], depth=14, k=2),
        *runs("random_k", [70.0, 70.0], depth=14, k=3),
        *runs("bn_only", [60.0, 61.0], depth=32),
    ]
    found = outcome("bn_only above random_2", results)
    assert (found.outcome, found.evidence) == (
        "holds",
        ("cifar_resnet 14 ×1: +0.9 ± 0.6 (n 2)",),
    )


def test_networks_trained_otherwise_are_not_compared():
    results = [*runs("bn_only", [48.0, 48.2]), *runs("all", [90.0, 90.1], lr=0.05)]
    assert outcome("all above bn_only", results).outcome == "not run"


def test_results_of_other_code_are_not_compared():
    spec = TrialSpec(trainable="all")
    other = [made(spec.changed(seed=s), 90.0 + s, code="b" * 64) for s in (0, 1)]
    assert outcome("all above bn_only", [*runs("bn_only", [48.0, 48.2]), *other]).outcome == (
        "not run"
    )


def test_disabled_features_are_compared_by_the_probe_s_share():
    shares = {"bn_only": 27.0, "all": 9.0}
    results = [
        made(TrialSpec(trainable=m, seed=s), metrics={BELOW: share + s * (2 if m == "all" else 1)})
        for m, share in shares.items()
        for s in (0, 1)
    ]
    found = outcome("bn_only disables more features", results)
    assert (found.outcome, found.evidence) == (
        "holds",
        ("cifar_resnet 14 ×1: +17.5 ± 6.4 (n 2)",),
    )


def test_a_shape_names_how_the_training_deviates_from_the_paper_s():
    results = [
        *runs("bn_only", [48.0, 48.2], depth=14, epochs=2),
        *runs("bn_only", [57.0, 57.3], depth=32, epochs=2),
    ]
    assert "epochs 2 (paper: 160)" in outcome("bn_only rises with depth", results).protocol


def test_shortcut_output_may_rise_again_near_chance_level_as_in_the_paper():
    accuracies = {14: 49.0, 32: 45.7, 56: 42.6, 110: 19.3, 218: 17.2, 434: 12.8, 866: 13.1}
    results = [
        result
        for depth, accuracy in accuracies.items()
        for result in runs("shortcut_output", [accuracy, accuracy + 0.1], depth=depth)
    ]
    found = outcome("shortcut_output falls with depth", results)
    assert found.outcome == "holds"
    assert found.evidence[0].startswith("fall with each doubling of the depth, 14 to 866: +7.")


def test_shortcut_output_that_rises_with_depth_refutes_the_fall():
    results = [
        *runs("shortcut_output", [19.0, 19.4], depth=14),
        *runs("shortcut_output", [30.0, 30.1], depth=32),
        *runs("shortcut_output", [49.0, 49.1], depth=110),
    ]
    assert outcome("shortcut_output falls with depth", results).outcome == "does not hold"


def test_equal_differences_of_less_than_a_test_image_s_error_decide_nothing():
    """On 360 digits one image is worth 0.28 points."""
    results = [
        *runs("all", [95.28, 95.28], dataset="digits"),
        *runs("bn_only", [95.0, 95.0], dataset="digits"),
    ]
    assert outcome("all above bn_only", results).outcome == "undecided"


@pytest.mark.parametrize(
    ("worth", "expected"),
    [(1.2, "holds"), (2.45, "undecided"), (0.1, "does not hold"), (6.0, "does not hold")],
)
def test_training_bn_is_worth_what_the_paper_says_and_no_more(worth, expected):
    results = [
        *runs("all", [91.0 + worth, 91.1 + worth, 90.9 + worth]),
        *runs("all_but_bn", [91.0, 91.15, 90.85]),
    ]
    assert outcome("size of training BN", results).outcome == expected
    assert outcome("training BN helps", results).outcome != "does not hold"


def test_a_size_is_judged_under_the_paper_s_protocol_only():
    results = [
        *runs("all", [92.2, 92.3], epochs=2),
        *runs("all_but_bn", [91.0, 91.1], epochs=2),
    ]
    found = outcome("size of training BN", results)
    assert found.outcome == "other protocol"
    assert "epochs 2 (paper: 160)" in found.protocol
    assert outcome("training BN helps", results).outcome == "holds"
    other_data = [*runs("all", [97.0], dataset="digits"), *runs("all_but_bn", [96.0])]
    assert outcome("size of training BN", other_data).outcome == "not run"


@pytest.mark.parametrize(
    ("bn_only", "expected"), [(27.0, "holds"), (60.0, "does not hold"), (32.4, "undecided")]
)
def test_the_shares_of_disabled_features_are_held_against_27_and_9_percent(bn_only, expected):
    results = [
        made(TrialSpec(trainable=trainable, seed=s), metrics={BELOW: share + s / 10})
        for trainable, share in (("bn_only", bn_only), ("all", 9.0))
        for s in (0, 1, 2)
    ]
    found = outcome("shares of disabled features", results)
    assert found.outcome == expected
    assert "cifar_resnet 14 ×1 all: 9.1 ± 0.2 (n 3)" in found.evidence
