import pytest

from orchestrator.reporting.figures.panels import published_accuracy, published_other_init
from orchestrator.reporting.published import parse, published
from orchestrator.reporting.statements import STATEMENTS
from trainer.spec import TrialSpec

HEADER = "dataset,architecture,depth,width,mode,metric,value,source,precision\n"


def one(line):
    return parse(HEADER + line)[0]


def test_every_row_of_the_reference_is_mapped_or_listed_as_unmapped_with_a_reason():
    rows = published()
    assert len(rows) == 157
    assert {row.kind for row in rows} == {"accuracy", "count", "claim", "unmapped"}
    assert all(row.target for row in rows)


def test_only_the_unidentified_curve_and_a_value_without_a_network_are_unmapped():
    unmapped = [row for row in published() if row.kind == "unmapped"]
    assert {row.mode for row in unmapped} == {"bn_only_alt_init", "bn_only"}
    assert sum(row.mode == "bn_only" for row in unmapped) == 1


def test_a_mapped_value_is_the_value_of_a_network_that_we_can_build():
    for row in published():
        if row.kind == "accuracy":
            spec = TrialSpec(
                model=row.architecture,
                depth=row.depth,
                width=row.width,
                dataset=row.dataset,
                trainable=row.mode,
            )
            assert row.matches(spec), row.name


def test_every_claim_has_a_shape_check_that_stands_for_it():
    checked = {name for name, _, _ in STATEMENTS}
    assert {row.target for row in published() if row.kind == "claim"} <= checked


def test_a_value_belongs_to_the_paper_s_initialisation_only():
    row = one("cifar10,cifar_resnet,14,1,bn_only,test_top1,48.0,figure,±0.5")
    spec = TrialSpec(trainable="bn_only")
    assert row.matches(spec)
    assert row.matches(spec.changed(epochs=2, seed=3))
    for other in ({"bn_init": "oneone"}, {"init": "binary"}, {"width": 2}, {"trainable": "all"}):
        assert not row.matches(spec.changed(**other))


def test_a_count_belongs_to_every_mode_of_its_network():
    row = one("cifar10,cifar_resnet,14,1,-,params_batchnorm,1120,Table 1,")
    assert row.matches(TrialSpec(trainable="bn_only"))
    assert row.matches(TrialSpec(trainable="all", bn_init="fixed"))
    assert row.target == "bn"


@pytest.mark.parametrize(
    ("value", "stated", "precision"),
    [("48.0", "±0.5", 0.5), ("69.5", "", 0.05), ("82", "", 0.5)],
)
def test_the_precision_is_the_stated_one_or_half_of_the_last_digit(value, stated, precision):
    row = one(f"cifar10,cifar_resnet,14,1,bn_only,test_top1,{value},text,{stated}")
    assert row.precision == pytest.approx(precision)


def test_the_unidentified_curve_is_a_reference_line_for_the_paper_s_initialisation_only():
    spec = TrialSpec(depth=110, trainable="bn_only")
    assert published_other_init(published(), spec) == 71.7
    assert published_other_init(published(), spec.changed(bn_init="oneone")) is None
    assert published_other_init(published(), spec.changed(dataset="digits")) is None


def test_beside_ours_stands_the_most_precise_of_several_published_values():
    assert published_accuracy(published(), TrialSpec(depth=110, trainable="bn_only")) == 69.5
    assert published_accuracy(published(), TrialSpec(depth=8, trainable="bn_only")) is None


def test_top5_is_another_metric_than_top1():
    row = one("imagenet,imagenet_resnet,200,1,bn_only,test_top5,32,abstract,")
    assert row.target == "test/accuracy_top5"


def test_a_metric_that_nobody_measures_is_unmapped():
    row = one("cifar10,cifar_resnet,14,1,bn_only,train_seconds,99,text,")
    assert (row.kind, row.target) == ("unmapped", "train_seconds is not measured here")
