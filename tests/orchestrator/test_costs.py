"""Closed forms: held against the paper's table, and against the built networks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from orchestrator import costs
from trainer import freezing, models
from trainer.spec import Trainable, TrialSpec, image_size_of

REFERENCE = Path(costs.__file__).parent / "reference" / "paper_results.csv"
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


def network(model: str, depth: int, width: int = 1, **fields: object) -> TrialSpec:
    data = "imagenet" if model == "imagenet_resnet" else "cifar10"
    given = {"model": model, "depth": depth, "width": width, "dataset": data, **fields}
    return TrialSpec.model_validate(given)


@pytest.mark.parametrize(
    ("model", "depth", "width", "which", "published"), list(reference_counts())
)
def test_counts_equal_the_papers_table(
    model: str, depth: int, width: int, which: str, published: int
) -> None:
    assert getattr(costs.counts(network(model, depth, width)), which) == published


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
    assert costs.counts(network("cifar_resnet", 110, trainable=mode, **k)).trainable == published


def test_the_reports_network_has_its_parameters() -> None:
    found = costs.counts(network("bottleneck_resnet", 20))
    assert (found.total, found.bn) == (571_114, 4_000)


MODES = get_args(Trainable)


FAMILIES = (("cifar_resnet", 14, 2), ("bottleneck_resnet", 11, 2), ("imagenet_resnet", 18, 1))
EVERY_MODE = [(family, mode) for family in FAMILIES for mode in MODES]
EVERY_MODE += [(("cifar_vgg", 11, 1), mode) for mode in MODES if not mode.startswith("shortcut")]


@pytest.mark.parametrize(("family", "mode"), EVERY_MODE)
def test_counts_of_every_mode_equal_the_built_networks(family, mode):
    spec = network(*family, trainable=mode, **({"k": 3} if mode == "random_k" else {}))
    model = models.build(spec)
    trained = freezing.freeze(model, spec).count(model)
    assert costs.counts(spec) == models.counts(model, trained)


BUILT = [network("cifar_resnet", depth, width) for depth, width in ((8, 1), (20, 3), (56, 1))]
BUILT += [network("cifar_vgg", 13), network("bottleneck_resnet", 20)]
BUILT += [network("imagenet_resnet", depth) for depth in (34, 50)]
BUILT.append(network("cifar_resnet", 8, dataset="digits"))
BUILT.append(network("cifar_resnet", 14, dataset="synthetic", image_size=15))


@pytest.mark.parametrize("spec", BUILT, ids=lambda spec: spec.config_id)
def test_flops_equal_those_that_torch_counts(spec):
    model, side = models.build(spec).eval(), image_size_of(spec)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, side, side))
    assert costs.flops_per_image(spec) == counter.get_total_flops()
