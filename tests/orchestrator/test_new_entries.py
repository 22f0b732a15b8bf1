"""A freezing mode, a data set and a network are one entry each of three tables.

Each is added here and nothing else is edited: validation, plan, training, probes and report follow.
"""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from memory_meter import peak_bytes
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.errors import SweepError
from orchestrator.launching import data_check
from orchestrator.library import Sweep, launch
from orchestrator.planning import costs
from orchestrator.reporting import report
from orchestrator.reporting.figures import drawing, probes
from orchestrator.reporting.sweep_results import read
from orchestrator.store.store import Store
from orchestrator.tracking.memory_tracker import MemoryTracker
from trainer import freezing, grouping, results
from trainer.data import splits
from trainer.data.in_memory import Arrays
from trainer.data_sets import DATA_SETS, DataSet
from trainer.modes import MODES
from trainer.networks import roles
from trainer.networks.blocks import BatchNorm, Network, conv, output
from trainer.networks.descriptions import NETWORKS, Description
from trainer.networks.layers import conv_norm
from trainer.networks.layers import output as output_layer
from trainer.probes import images
from trainer.spec import TrialSpec
from trainer.weights import initial


class TinyNet(Network):
    """`depth` times conv3x3 - BN - ReLU, then the output layer."""

    def __init__(self, spec):
        super().__init__()
        channels = [3, *[4 * spec.width] * spec.depth]
        pairs = list(itertools.pairwise(channels))
        self.convs = nn.ModuleList(conv(inputs, outputs, 3) for inputs, outputs in pairs)
        self.norms = nn.ModuleList(BatchNorm(outputs, spec) for _, outputs in pairs)
        self.fc = output(channels[-1], spec)

    def features(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convs, self.norms, strict=True):
            x = norm(convolution(x), relu=True)
        return x.mean((2, 3))


def tiny_layers(spec):
    channels = 4 * spec.width
    yield from conv_norm(3, channels, spec.side, 3)
    yield from conv_norm(channels, channels, spec.side, 3) * (spec.depth - 1)
    yield output_layer(channels, spec.classes)


def stripes(spec, root):
    """Images of one colour; the class is the brightest channel."""
    data_set = DATA_SETS[spec.dataset]

    def split(count, seed):
        labels = np.random.default_rng(seed).integers(0, data_set.classes, count)
        pixels = np.full((count, data_set.side, data_set.side, 3), 40, np.uint8)
        pixels[np.arange(count), :, :, labels] = 220
        return Arrays(pixels, labels.astype(np.int64))

    return split(data_set.train_images, 1), split(data_set.test_images, 2)


ADDED_MODES = {
    "gamma_output": lambda role: role.kind == "gamma" or role.output,
    "output_bias": lambda role: role.output and role.kind == "bias",
    "stay_put": lambda role: role.place == "shortcut" and role.kind == "conv_weight",
}


@pytest.fixture(autouse=True)
def added(monkeypatch):
    """The entries, removed afterwards."""
    for name, mode in ADDED_MODES.items():
        monkeypatch.setitem(MODES, name, mode)
    data_set = DataSet("bundled", classes=3, side=12, train_images=96, test_images=40, read=stripes)
    monkeypatch.setitem(DATA_SETS, "stripes", data_set)
    tiny = Description("Tiny", range(1, 9), (8, 16), tiny_layers, TinyNet)
    monkeypatch.setitem(NETWORKS, "tiny", tiny)


TEXT = """
name: added
base: {model: tiny, dataset: stripes, epochs: 3, batch_size: 8, lr: 0.05, weight_decay: 0.0}
axes:
  depth: [1, 3]
  trainable: [all, gamma_output, output_bias, all_but_bn]
seeds: 1
"""


@pytest.fixture
def sweep():
    return Sweep.parse(TEXT)


def test_a_plan_counts_what_the_built_network_has(sweep, tmp_path):
    rows = sweep.plan(tmp_path).rows
    assert len(rows) == 8
    for row in rows:
        model = initial.build(row.spec)
        trained = freezing.freeze(model, row.spec)
        assert row.costs.counts == roles.counts(model, trained.count(model))
        assert row.costs.steps_per_epoch == 12
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.eval()(torch.zeros(1, 3, 12, 12))
        assert row.costs.flops_per_image == counter.get_total_flops()


@pytest.mark.parametrize("mode", ["all", *list(ADDED_MODES)[:2]])
@pytest.mark.filterwarnings("ignore:.*CUDA:UserWarning")
def test_its_memory_is_planned_within_a_fifth(mode):
    spec = TrialSpec(model="tiny", depth=3, width=8, dataset="stripes", trainable=mode)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    measured = peak_bytes(spec)
    torch.set_num_threads(before)
    assert costs.memory_bytes(spec) == pytest.approx(measured, rel=0.2)


def test_what_a_step_costs_follows_from_what_has_a_gradient():
    def flops(mode):
        return costs.training_flops(
            TrialSpec(model="tiny", depth=3, dataset="stripes", trainable=mode)
        )

    assert flops("nothing") < flops("output_bias") < flops("gamma_output") < flops("all")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("{model: tinny}", "allowed: cifar_resnet, cifar_vgg, imagenet_resnet, bottleneck_resnet, "
         "tiny; did you mean tiny?"),
        ("{dataset: stripe}", "image_folder, synthetic, stripes; did you mean stripes?"),
        ("{trainable: output_bia}", "nothing, gamma_output, output_bias, stay_put; "
         "did you mean output_bias?"),
        ("{model: tiny, depth: 9, dataset: stripes}", "found 9; allowed for tiny: the nearest 8"),
        ("{model: tiny, depth: 1}", "found images of 32x32 pixels; allowed for tiny: 8x8 to 16x16"),
        ("{model: tiny, depth: 1, dataset: stripes, classes: 4}", "is given by dataset: stripes"),
        ("{model: tiny, depth: 1, dataset: stripes, train_subset: 97}", "up to the 96 of stripes"),
        ("{model: tiny, depth: 1, dataset: stripes, validation: 94}",
         "base.validation: found 94; allowed: up to 93 of the 96 of stripes, so that each class "
         "keeps one to train on"),
        ("{model: tiny, depth: 1, dataset: stripes, trainable: stay_put}",
         "stay_put needs shortcuts, and tiny has none"),
        ("{model: tiny, depth: 2, width: 4, dataset: stripes, trainable: random_k, k: 28}",
         "base.k: found 28; allowed: up to 27"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_what_is_allowed_now(fields, problem):
    with pytest.raises(SweepError) as caught:
        Sweep.parse(f"name: added\nbase: {fields}\n")
    (line,) = caught.value.lines
    assert problem in line


def test_trials_below_whose_output_nothing_trains_share_forwards_and_probe_less():
    specs = [
        TrialSpec(model="tiny", depth=1, dataset="stripes", trainable="output_bias", lr=lr)
        for lr in (0.1, 0.2)
    ]
    assert grouping.groups(specs) == [[0, 1]]
    data = splits.load(specs[0], None)
    both = specs[0].changed(trainable="gamma_output")
    assert images.budget(both, data) > grouping.LARGEST * images.budget(specs[0], data)


@pytest.fixture
def trained(sweep, tmp_path):
    """The store after a launch."""
    assert data_check.problems(sweep.trials, tmp_path / "nowhere") == []
    outcome = launch(sweep, store=tmp_path, inline=True, tracker=MemoryTracker())
    assert (outcome.exit_code, outcome.counts["finished"]) == (0, 8)
    return Store(tmp_path)


def test_they_train_prove_their_freeze_and_are_reported(sweep, trained, tmp_path):
    for spec in sweep.trials:
        artifacts = trained.attempt_folder(spec.trial_id, 1) / results.ARTIFACTS
        proof = json.loads((artifacts / results.FREEZE_PROOF).read_text())
        role_of = roles.roles_of(initial.build(spec))
        assert proof["violations"] == []
        assert proof["declared"] == [n for n in role_of if MODES[spec.trainable](role_of[n])]
        assert set(proof["changed"]) <= set(proof["declared"])
        with np.load(artifacts / results.PROBES) as arrays:
            assert arrays["channels"].tolist() == [4] * spec.depth
            assert len(arrays["class_accuracy"]) == 3
        if spec.trainable == "all":
            assert trained.result(spec.trial_id).metrics["test/accuracy"] > 60
    assert drawing.network(sweep.trials[0]) == "Tiny-1"
    sweep_results = read(trained, "added")
    assert (report.build(sweep_results, tmp_path / "out").parent / "pruning.png").exists()
    figures = probes.probe_figures(sweep_results.probed)
    drawn = {figure.name: figure for figure in figures}
    titles = [panel.get_title() for panel in drawn["gamma_histogram"].figure.axes]
    assert [title.partition(",")[0] for title in titles] == ["Tiny-1", "Tiny-3"]
    assert labels_of(drawn["gamma_histogram"]) == {"all", "gamma_output", "initial"}
    assert {"all", "gamma_output", "output_bias", "all_but_bn"} <= labels_of(drawn["pruning"])


def labels_of(drawn):
    """What the figure's legend names."""
    return {text.get_text() for legend in drawn.figure.legends for text in legend.get_texts()}
