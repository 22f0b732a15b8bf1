"""Planned memory: within 20 % of what torch really allocates, network by network and mode by mode.

The batches are small so that the test is quick; evaluation is measured apart, its batch being
larger.
"""

from dataclasses import replace

import pytest
import torch
from memory_meter import peak_bytes
from PIL import Image

from orchestrator.planning import costs, memory
from trainer.data import splits
from trainer.data_sets import DATA_SETS, DataSet
from trainer.networks.descriptions import NETWORKS
from trainer.networks.layers import Repeated
from trainer.spec import TrialSpec

pytestmark = pytest.mark.filterwarnings("ignore:.*CUDA:UserWarning")

IMAGENET = {"model": "imagenet_resnet", "dataset": "imagenet", "image_size": 64, "batch_size": 8}
SAMPLE = [
    {"depth": 8, "trainable": "all"},
    {"depth": 14, "trainable": "bn_only"},
    {"depth": 32, "trainable": "bn_only", "precision": "bf16"},
    {"depth": 56, "trainable": "bn_only", "batch_size": 16},
    {"depth": 14, "width": 8, "trainable": "bn_only", "batch_size": 4},
    {"depth": 14, "width": 8, "trainable": "random_k", "k": 2, "batch_size": 4},
    {"depth": 14, "width": 8, "trainable": "all", "optimizer": "adam", "batch_size": 4},
    {"depth": 14, "width": 8, "trainable": "output_only", "batch_size": 16},
    {"model": "cifar_vgg", "depth": 11, "trainable": "bn_only"},
    {"model": "bottleneck_resnet", "depth": 20, "trainable": "all"},
    {**IMAGENET, "depth": 18, "trainable": "shortcut_only"},
    {**IMAGENET, "depth": 18, "trainable": "all", "batch_size": 32, "bn_batch": 8},
    {"depth": 56, "trainable": "bn_only", "batch_size": 64, "bn_batch": 16},
    {**IMAGENET, "depth": 50, "trainable": "bn_only"},
]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def without_evaluation(monkeypatch):
    memory.memory_bytes.cache_clear()
    monkeypatch.setattr(DataSet, "evaluated_together", 0)
    yield
    memory.memory_bytes.cache_clear()


@pytest.mark.parametrize("fields", SAMPLE, ids=lambda f: "-".join(map(str, f.values())))
def test_training_needs_what_is_planned_within_a_fifth(fields, without_evaluation):
    spec = TrialSpec.model_validate({"batch_size": 16, **fields})
    measured = peak_bytes(spec, evaluated=False)
    assert memory.memory_bytes(spec) == pytest.approx(measured, rel=0.2)


@pytest.mark.parametrize("mode", ["bn_only", "output_only"])
def test_a_small_networks_peak_is_its_evaluation(mode):
    spec = TrialSpec(depth=8, trainable=mode, batch_size=8)
    assert memory.memory_bytes(spec) == pytest.approx(peak_bytes(spec), rel=0.2)


@pytest.fixture
def folder(tmp_path):
    """Two classes, 60 test images of each: more than one batch of a folder's evaluation."""
    for split, count in (("train", 4), ("val", 60)):
        for name in ("ant", "bee"):
            place = tmp_path / "zoo" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (80, 80), (number, 90, 90)).save(place / f"{number}.png")
    return tmp_path


FOLDER = TrialSpec(
    model="imagenet_resnet",
    depth=18,
    dataset="image_folder",
    data_id="zoo",
    classes=2,
    image_size=64,
    trainable="output_only",
    batch_size=8,
)


def test_a_folder_is_evaluated_in_as_much_memory_as_is_planned(folder):
    data = splits.load(FOLDER, folder, workers=0)
    measured = peak_bytes(FOLDER, evaluated=data)
    assert memory.memory_bytes(FOLDER) == pytest.approx(measured, rel=0.2)


@pytest.mark.parametrize(
    "spec",
    [TrialSpec(depth=8, dataset="digits"), TrialSpec(depth=8, dataset="synthetic"), FOLDER],
    ids=lambda spec: spec.dataset,
)
def test_the_largest_batch_of_an_evaluation_is_the_planned_one(spec, folder):
    data = splits.load(spec, folder, workers=0)
    largest = max(len(labels) for _, labels in data.test.batches())
    assert largest == DATA_SETS[spec.dataset].evaluated_together


def test_a_larger_batch_of_validation_counts():
    """The 360 test images of digits are one batch; those for validation come in up to 500."""
    spec = TrialSpec(depth=8, dataset="digits", trainable="nothing", batch_size=32)
    planned = memory.memory_bytes(spec)
    assert memory.memory_bytes(spec.changed(validation=300)) == planned
    larger = memory.memory_bytes(spec.changed(validation=1000))
    assert larger == memory.memory_bytes(spec.changed(validation=500))
    assert larger / planned == pytest.approx(500 / 360, rel=0.2)


def test_memory_grows_with_the_batch_by_the_activations_alone():
    small, large = (TrialSpec(depth=56, batch_size=size) for size in (512, 1024))
    growth = memory.memory_bytes(large) - memory.memory_bytes(small)
    assert growth == pytest.approx(memory.memory_bytes(small), rel=0.01)


def test_the_fused_kernel_needs_no_more_than_is_planned_for_frozen_convolutions():
    spec = TrialSpec(depth=14, trainable="bn_only", batch_size=32)
    assert peak_bytes(spec, evaluated=False, kernels="fused") < memory.memory_bytes(spec)


@pytest.mark.parametrize("mode", ["all", "bn_only", "shortcut_only", "output_only", "nothing"])
@pytest.mark.parametrize("model", ["cifar_resnet", "bottleneck_resnet"])
def test_a_block_that_repeats_counts_as_its_layers_one_by_one(model, mode, monkeypatch):
    spec = TrialSpec(model=model, depth=110, trainable=mode, dataset="cifar10")
    repeated = [costs.memory_bytes(spec), costs.counts(spec), costs.training_flops(spec)]

    def unrolled(network):
        for part in built_in.layers(network):
            yield from part.layers * part.times if isinstance(part, Repeated) else [part]

    built_in = NETWORKS[model]
    monkeypatch.setitem(NETWORKS, model, replace(built_in, layers=unrolled))
    one_by_one = spec.changed(seed=1)
    assert repeated == [
        costs.memory_bytes(one_by_one),
        costs.counts(one_by_one),
        costs.training_flops(one_by_one),
    ]
