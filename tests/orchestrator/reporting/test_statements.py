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
