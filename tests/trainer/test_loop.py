"""The trainer against a plain PyTorch loop: torch's own optimizer, schedule by hand, no vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small_trials import small

from trainer import freezing
from trainer.data import splits
from trainer.results import ARTIFACTS, FINAL_TENSORS
from trainer.spec import TrialSpec
from trainer.train import train
from trainer.weights import initial


def plain_loop(spec: TrialSpec, folder: Path) -> tuple[torch.nn.Module, list[float]]:
    """The final network and each epoch's mean training loss."""
    model, split = initial.build(spec), splits.load(spec, folder).train
    trained = freezing.freeze(model, spec)
    masks = {name: torch.zeros(model.get_parameter(name).numel()) for name in trained.indices}
    for name, indices in trained.indices.items():
        masks[name][indices] = 1
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    chosen = [model.get_parameter(name) for name in trained.names]
    optimizer = torch.optim.SGD(chosen, lr=spec.lr, momentum=0.9, weight_decay=spec.weight_decay)
    means = []
    for epoch in (1, 2):
        optimizer.param_groups[0]["lr"] = spec.lr * 0.1 ** (epoch - 1)
        total = 0.0
        for images, labels in split.batches(epoch):
            model.train()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for name, mask in masks.items():  # put back what random_k does not train
                    parameter, keep = model.get_parameter(name), mask.view(start[name].shape)
                    parameter.copy_(torch.where(keep.bool(), parameter, start[name]))
            total += float(loss.detach()) * len(labels)
        means.append(total / split.count)
    return model, means


@pytest.mark.parametrize(
    ("trainable", "k"), [("all", 0), ("bn_only", 0), ("bn_output", 0), ("random_k", 2)]
)
def test_a_trial_is_what_a_plain_pytorch_loop_gives(trainable, k, tmp_path, options) -> None:
    spec = small(trainable=trainable, k=k, lr=0.02, weight_decay=0.01)
    expected, means = plain_loop(spec, tmp_path)
    result = train(spec, tmp_path, options=replace(options, kernels="stock"))
    losses = [record.metrics["train/loss"] for record in result.history[1:]]
    assert losses == pytest.approx(means, rel=1e-4)
    final = torch.load(tmp_path / ARTIFACTS / FINAL_TENSORS, weights_only=True)
    tensors = {**dict(expected.named_parameters()), **dict(expected.named_buffers())}
    for name, tensor in final.items():
        torch.testing.assert_close(tensor, tensors[name].detach(), rtol=1e-3, atol=1e-4)
