"""Closed forms: held against the paper's table, and against the built networks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.planning import costs
from trainer import freezing
from trainer.modes import MODES
from trainer.networks import roles
from trainer.networks.descriptions import NETWORKS
from trainer.results import CHECKPOINT, CHECKPOINT_PREVIOUS, INITIAL
from trainer.spec import TrialSpec, image_size_of, network_of
from trainer.train import Options, train
from trainer.weights import initial

REFERENCE = Path(costs.__file__).parents[1] / "reporting" / "paper_results.csv"
COLUMNS = {
    "params_total": "total",
    "params_batchnorm": "bn",
    "params_output": "output",
    "params_shortcut": "shortcut",
}


def reference_counts() -> Iterator[tuple[str, int, int, str, int]]:
    with REFERENCE.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["metric"] in COLUMNS:
                size = int(row["depth"]), int(row["width"])
                yield row["architecture"], *size, COLUMNS[row["metric"]], int(row["value"])


def cell(model: str, depth: int, width: int = 1, **fields: object) -> TrialSpec:
    data = "imagenet" if model == "imagenet_resnet" else "cifar10"
    given = {"model": model, "depth": depth, "width": width, "dataset": data, **fields}
    return TrialSpec.model_validate(given)


@pytest.mark.parametrize(
    ("model", "depth", "width", "which", "published"), list(reference_counts())
)
def test_counts_equal_the_papers_table(
    model: str, depth: int, width: int, which: str, published: int
) -> None:
    assert getattr(costs.counts(cell(model, depth, width)), which) == published


@pytest.mark.parametrize(
    ("mode", "published"),
    [
        ("all", 1_730_714),
        ("bn_only", 8_288),
        ("nothing", 0),
        ("output_only", 650),
        ("bn_output", 8_938),
        ("shortcut_only", 2_560),
        ("shortcut_output", 3_210),
        ("bn_shortcut_output", 11_498),
        ("all_but_bn", 1_722_426),
        ("random_k", 8_288),
    ],
)
def test_trained_parameters_of_resnet_110_equal_the_papers(mode: str, published: int) -> None:
    k = {"k": 2} if mode == "random_k" else {}
    assert costs.counts(cell("cifar_resnet", 110, trainable=mode, **k)).trainable == published


def test_the_reports_network_has_its_parameters() -> None:
    found = costs.counts(cell("bottleneck_resnet", 20))
    assert (found.total, found.bn) == (571_114, 4_000)


CELLS = [
    cell("cifar_resnet", 14, 2),
    cell("cifar_vgg", 11, 2),
    cell("imagenet_resnet", 18, image_size=32),
    cell("imagenet_resnet", 50, image_size=48),
    cell("bottleneck_resnet", 20),
]


@pytest.mark.parametrize("spec", CELLS, ids=lambda spec: spec.config_id)
def test_counts_of_every_mode_equal_the_built_networks(spec):
    model = initial.build(spec)
    for mode in MODES:
        if mode.startswith("shortcut") and spec.model == "cifar_vgg":
            continue
        changed = spec.changed(trainable=mode, **({"k": 3} if mode == "random_k" else {}))
        trained = freezing.freeze(model, changed).count(model)
        assert costs.counts(changed) == roles.counts(model, trained), mode


ODD_SIZES = [
    cell("cifar_resnet", 8, dataset="digits"),
    cell("cifar_resnet", 56),
    cell("cifar_resnet", 14, 3, dataset="synthetic", image_size=15),
    cell("imagenet_resnet", 34, dataset="synthetic", image_size=75),
    cell("imagenet_resnet", 101, dataset="synthetic", image_size=33),
    cell("cifar_vgg", 19),
]


@pytest.mark.parametrize("spec", [*CELLS, *ODD_SIZES], ids=lambda spec: spec.config_id)
def test_flops_equal_those_that_torch_counts(spec):
    model, side = initial.build(spec).eval(), image_size_of(spec)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, side, side))
    assert costs.flops_per_image(spec) == counter.get_total_flops()


@st.composite
def networks(draw):
    model = draw(st.sampled_from(("cifar_resnet", "bottleneck_resnet", "cifar_vgg")))
    size = draw(st.integers(1, 6))
    depth = {"cifar_resnet": 6 * size + 2, "bottleneck_resnet": 9 * size + 2}.get(model, 0)
    classes = {"dataset": "synthetic", "classes": draw(st.integers(2, 200))}
    return cell(
        model,
        depth or draw(st.sampled_from(NETWORKS["cifar_vgg"].depths)),
        draw(st.integers(1, 5)),
        trainable=draw(st.sampled_from(("all", "bn_output", "bias_only", "all_but_bn"))),
        **classes,
    )


@given(networks())
@settings(deadline=None, max_examples=30)
def test_counts_of_any_depth_and_width_equal_the_built_networks(spec):
    with torch.device("meta"):
        model = NETWORKS[spec.model].build(network_of(spec))
    assert costs.counts(spec) == roles.counts(model, freezing.freeze(model, spec).count(model))


@pytest.mark.parametrize("mode", ["all", "bn_only", "nothing"])
def test_bytes_of_checkpoint_and_store_are_near_those_of_a_real_trial(tmp_path, mode):
    spec = cell("cifar_resnet", 14, trainable=mode, dataset="synthetic", image_size=8, epochs=2)
    train(spec, tmp_path, options=Options(threads=1))
    sizes = {path.name: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    checkpoint, initial = sizes.pop(CHECKPOINT), sizes.pop(INITIAL, 0)
    assert costs.checkpoint_bytes(spec) == pytest.approx(checkpoint, rel=0.05)
    assert costs.kept_bytes(spec) == pytest.approx(
        sum(size for name, size in sizes.items() if name != CHECKPOINT_PREVIOUS), rel=0.3
    )
    begin_alike = [spec, spec.changed(lr=0.3), spec.changed(trainable="all")]
    assert costs.initial_weights_bytes(begin_alike) == pytest.approx(initial, rel=0.1)
    others = [spec.changed(seed=1), spec.changed(bn_init="fixed")]
    assert costs.initial_weights_bytes(begin_alike + others) == pytest.approx(3 * initial, rel=0.1)


FOLDER = {"dataset": "image_folder", "data_id": "a", "classes": 2, "image_size": 32}


@pytest.mark.parametrize(
    ("fields", "images", "steps"),
    [
        ({}, 50_000, 391),
        ({"validation": 5000}, 45_000, 352),
        ({"validation": 5000, "train_subset": 1000}, 1000, 8),
        ({"dataset": "synthetic", "validation": 100}, 412, 4),
        ({"dataset": "synthetic", "validation": 100, "train_subset": 600}, 600, 5),
        (FOLDER | {"validation": 50}, None, None),
    ],
    ids=str,
)
def test_images_for_validation_are_no_images_of_an_epoch(fields, images, steps, tmp_path) -> None:
    spec = TrialSpec(depth=8, epochs=1, **fields)
    assert costs.training_images(spec) == images
    if images:
        assert costs.steps_per_epoch(images, spec.batch_size) == steps
        assert costs.training_flops(spec) == images * costs.training_flops(
            spec.changed(train_subset=1, validation=0)
        )
    if spec.dataset == "synthetic":
        options = Options(data=tmp_path, device="cpu")
        result = train(spec.changed(image_size=8), tmp_path / "out", options=options)
        assert result.history[-1].step == steps
