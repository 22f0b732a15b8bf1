"""The paper's numbers, and the one mapping from their names to ours.

`paper_results.csv`: dataset, architecture, depth, width, mode, metric, value (% or a
count), source, precision (`±0.5`: read off a figure).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from orchestrator.reporting.replicates import ACCURACY
from trainer.modes import MODES
from trainer.networks.descriptions import NETWORKS
from trainer.spec import TrialSpec

RowKind = Literal["accuracy", "count", "claim", "unmapped"]

_ACCURACIES = {"test_top1": ACCURACY, "test_top5": "test/accuracy_top5"}
_COUNTS = {
    "params_total": "total",
    "params_batchnorm": "bn",
    "params_output": "output",
    "params_shortcut": "shortcut",
}
_CLAIMS = {
    "delta_top1_min": "size of training BN",
    "delta_top1_max": "size of training BN",
    "delta_top1": "size of training BN",
    "gamma_abs_lt_0.01_pct": "shares of disabled features",
}
"""Values for no single network: the statement (`statements.STATEMENTS`) that tests them."""

_ALL_RESNETS = ("cifar_resnet", "imagenet_resnet")
"""What the paper means by "all ResNets"."""

PAPER_SEEDS = {"cifar10": 5, "imagenet": 3}
"""Replicates behind each published mean."""


@dataclass(frozen=True)
class Published:
    """A row of the reference and what it means here."""

    dataset: str
    architecture: str
    depth: int | None
    width: int | None
    mode: str
    metric: str
    """As in the reference."""
    value: float
    precision: float
    """Half of the range that the printed value leaves open, in its unit."""
    source: str
    kind: RowKind
    target: str
    """Our metric, field of `Counts` or claim; why not, for an unmapped row."""

    @property
    def name(self) -> str:
        """The row in words: `cifar_resnet 14 ×1 bn_only`."""
        size = f" {self.depth}" if self.depth else ""
        size += f" ×{self.width}" if self.width else ""
        return f"{self.architecture}{size} {self.mode.strip('-')}".strip()

    def is_of_network(self, spec: TrialSpec) -> bool:
        """Whether `spec`'s network and data are the row's."""
        network = (self.dataset, self.architecture, self.depth, self.width)
        return network == (spec.dataset, spec.model, spec.depth, spec.width)

    def matches(self, spec: TrialSpec) -> bool:
        """Whether `spec` is the row's network and mode (whatever the protocol of its training)."""
        if not self.is_of_network(spec):
            return False
        if self.kind == "count":
            return True
        return self.kind == "accuracy" and self.mode == spec.mode and as_initialised(spec)

    def claims_about(self, spec: TrialSpec) -> bool:
        """Whether `spec`'s network is one of those that a row of kind `claim` speaks of."""
        models = _ALL_RESNETS if self.architecture == "all ResNets" else (self.architecture,)
        about = self.dataset == spec.dataset and spec.model in models
        return self.kind == "claim" and about and as_initialised(spec)

    @property
    def cell(self) -> tuple[object, ...]:
        """What the value is of; rows of several sources share a cell."""
        return (self.dataset, self.architecture, self.depth, self.width, self.mode, self.target)


def by_precision(rows: Iterable[Published]) -> list[Published]:
    """The most precise source first; of equally precise ones the first of the reference, where the
    paper's text precedes what was read off its figures."""
    return sorted(rows, key=lambda row: row.precision)


def as_initialised(spec: TrialSpec) -> bool:
    """Whether the network starts as in the paper's main experiments."""
    return (spec.init, spec.bn_init, spec.weights) == ("kaiming_normal", "uniform", "random")


@cache
def published() -> tuple[Published, ...]:
    """All rows of the reference, in order."""
    file = resources.files("orchestrator.reporting") / "paper_results.csv"
    return parse(file.read_text(encoding="utf-8"))


def parse(text: str) -> tuple[Published, ...]:
    """Rows of a reference in CSV."""
    return tuple(_row(fields) for fields in csv.DictReader(io.StringIO(text)))


def _row(fields: dict[str, str]) -> Published:
    kind, target = _meaning(fields)
    return Published(
        dataset=fields["dataset"],
        architecture=fields["architecture"],
        depth=int(fields["depth"]) if fields["depth"] else None,
        width=int(fields["width"]) if fields["width"] else None,
        mode=fields["mode"],
        metric=fields["metric"],
        value=float(fields["value"]),
        precision=0.0 if kind == "count" else _precision(fields["value"], fields["precision"]),
        source=fields["source"],
        kind=kind,
        target=target,
    )


def _meaning(fields: dict[str, str]) -> tuple[RowKind, str]:
    metric, of_one_network = fields["metric"], bool(fields["depth"] and fields["width"])
    if metric in _CLAIMS:
        return "claim", _CLAIMS[metric]
    if not of_one_network or fields["architecture"] not in NETWORKS:
        return "unmapped", "names no single network"
    if metric in _COUNTS:
        return "count", _COUNTS[metric]
    if fields["mode"] not in MODES:
        return "unmapped", f"{fields['mode']} is not a mode that could be identified; a line only"
    if metric in _ACCURACIES:
        return "accuracy", _ACCURACIES[metric]
    return "unmapped", f"{metric} is not measured here"


def _precision(value: str, stated: str) -> float:
    """As stated (`±0.5`), else half a unit of the last printed digit."""
    if stated:
        return float(stated.removeprefix("±"))
    decimals = len(value.partition(".")[2])
    return 0.5 * 10.0**-decimals
