"""A training step on torch's `meta` device, which stands for a GPU here: its tensors have a shape
and a place but no data, so whatever waits for a result fails, and so does what mixes devices.

It knows no autocast, and nothing of CUDA's streams, graphs and libraries: see test_gpu.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_trials import small
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainer.data import splits
from trainer.epoch import Epoch
from trainer.evaluate import evaluate
from trainer.kernels.cuda_graphs import Graph
from trainer.learner import Learner
from trainer.modes import MODES
from trainer.spec import TrialSpec

GPU = torch.device("meta")
OPTIMIZERS: list[dict[str, Any]] = [
    {},
    {"nesterov": True},
    {"optimizer": "adam"},
    {"optimizer": "adamw"},
]


class OnTheGpu(TorchDispatchMode):
    """Refuses an operation that takes or gives a tensor elsewhere; counts what it lets through."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        tensors = [part for part in tree_leaves((args, kwargs, given)) if isinstance(part, Tensor)]
        if any(tensor.device.type != GPU.type for tensor in tensors):
            raise AssertionError(f"{func} touches {[tensor.device.type for tensor in tensors]}")
        self.count += 1
        return given


def mode(trainable: str, **fields: Any) -> TrialSpec:
    return small(trainable=trainable, k=2 if trainable == "random_k" else 0, **fields)


def train_an_epoch(spec: TrialSpec, folder: Path) -> None:
    """All but its beginning (the plan of its batches) without a look at the host."""
    train = splits.load(spec, folder, GPU).train
    learner, epoch = Learner(spec, GPU), Epoch(train.count, spec.batch_size, GPU)
    batches = train.batches(1)
    epoch.note(0, *learner.step(*next(batches), 0.1, 0))
    with OnTheGpu() as gpu:
        for number, (images, labels) in enumerate(batches, 1):
            epoch.note(number, *learner.step(images, labels, 0.1, number))
    assert gpu.count > 100


@pytest.mark.parametrize("trainable", MODES)
def test_a_step_takes_all_from_the_gpu_and_reads_nothing_back(
    trainable: str, tmp_path: Path
) -> None:
    train_an_epoch(mode(trainable), tmp_path)


@pytest.mark.parametrize("fields", OPTIMIZERS[1:])
@pytest.mark.parametrize("trainable", ["all", "random_k"])
def test_no_optimizer_looks_at_what_it_updates(
    trainable: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    train_an_epoch(mode(trainable, brightness=0.2, **fields), tmp_path)


def test_a_step_on_shared_features_reads_nothing_back_either(tmp_path: Path) -> None:
    spec = mode("output_only")
    batches, learner = splits.load(spec, tmp_path, GPU).train.batches(1), Learner(spec, GPU)
    images, labels = next(batches)
    with OnTheGpu():
        with torch.no_grad():
            features = learner.features(images)
        learner.step_output(features, labels, 0.1, 0)


def test_a_replayed_step_only_copies_its_batch_within_the_gpu(tmp_path: Path) -> None:
    spec, replays = mode("bn_only"), []
    batches, learner = splits.load(spec, tmp_path, GPU).train.batches(1), Learner(spec, GPU)
    images, labels = next(batches)
    outputs = learner.differentiate(images, labels)
    learner.graph = Graph(images, labels, lambda: replays.append(1), outputs)
    with OnTheGpu():
        for number, batch in enumerate(batches, 1):
            learner.step(*batch, 0.1, number)
    assert len(replays) == 2  # the third batch is short


def test_an_evaluation_waits_for_the_gpu_once_at_its_end(tmp_path: Path) -> None:
    spec, seen = mode("all"), []
    test, learner = splits.load(spec, tmp_path, GPU).test, Learner(spec, GPU)

    def forward(images: Tensor) -> Tensor:
        seen.append(len(images))
        return learner.forward(images)

    with OnTheGpu(), pytest.raises(NotImplementedError, match="no data"):
        evaluate(learner.model, forward, {"test": test}, 10)
    assert sum(seen) == test.count


@pytest.mark.parametrize(
    "wait",
    [
        lambda gradient: bool(gradient.isfinite().all()),
        lambda gradient: gradient.mul_(torch.tensor(0.5)),
        lambda gradient: gradient[torch.tensor([0])],
        lambda gradient: gradient[gradient > 0],
        lambda gradient: gradient.cpu(),
        lambda gradient: gradient.add_(torch.ones(1).to(GPU)),
    ],
)
def test_what_would_wait_for_a_gpu_is_found_here(wait: Any) -> None:
    gradient = torch.zeros(3, device=GPU)
    with pytest.raises((AssertionError, RuntimeError)), OnTheGpu():
        wait(gradient)
