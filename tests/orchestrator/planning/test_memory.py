"""Planned memory: within 20 % of what torch really allocates, network by network and mode by mode.

The batches are small so that the test is quick; evaluation is measured apart, its batch being
larger.
"""

import pytest
import torch
from memory_meter import peak_bytes

from orchestrator.planning import memory
from trainer.data import splits
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
    monkeypatch.setattr(memory, "EVALUATION_BATCH", 0)
    yield
    memory.memory_bytes.cache_clear()


@pytest.mark.parametrize("fields", SAMPLE, ids=lambda f: "-".join(map(str, f.values())))
def test_training_needs_what_is_planned_within_a_fifth(fields, without_evaluation):
    spec = TrialSpec.model_validate({"batch_size": 16, **fields})
    measured = peak_bytes(spec, evaluate=False)
    assert memory.memory_bytes(spec) == pytest.approx(measured, rel=0.2)


@pytest.mark.parametrize("mode", ["bn_only", "output_only"])
def test_a_small_networks_peak_is_its_evaluation(mode):
    spec = TrialSpec(depth=8, trainable=mode, batch_size=8)
    assert memory.memory_bytes(spec) == pytest.approx(peak_bytes(spec), rel=0.2)


def test_the_evaluations_batch_is_the_trainers():
    assert memory.EVALUATION_BATCH == splits.EVALUATION_BATCH


def test_memory_grows_with_the_batch_by_the_activations_alone():
    small, large = (TrialSpec(depth=56, batch_size=size) for size in (512, 1024))
    growth = memory.memory_bytes(large) - memory.memory_bytes(small)
    assert growth == pytest.approx(memory.memory_bytes(small), rel=0.01)


def test_the_fused_kernel_needs_no_more_than_is_planned_for_frozen_convolutions():
    spec = TrialSpec(depth=14, trainable="bn_only", batch_size=32)
    assert peak_bytes(spec, evaluate=False, kernels="fused") < memory.memory_bytes(spec)
