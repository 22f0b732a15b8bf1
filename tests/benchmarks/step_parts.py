"""Where the time of a training step goes, by the profiler's own times of torch's operators."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from trainer.data import splits
from trainer.kernels import fused_norm
from trainer.learner import Learner
from trainer.spec import TrialSpec

PARTS = {
    "aten::mkldnn_convolution": "convolutions, forward",
    "aten::convolution_backward": "convolutions, backward",
    **dict.fromkeys(
        (
            "_TrainNorm",
            "_TrainNormBackward",
            "aten::native_batch_norm",
            "aten::native_batch_norm_backward",
            "aten::threshold_backward",
            "aten::clamp_min_",
            "aten::add",
            "aten::add_",
        ),
        "BatchNorm, residual and ReLU, both ways",
    ),
}
REST = "all else (loss, optimizer, autograd, memory)"


def shares(
    spec: TrialSpec, root: Path, kernels: fused_norm.Kernels, steps: int = 5
) -> dict[str, float]:
    """Percent of a step on one thread, for each part."""
    learner = Learner(spec, torch.device("cpu"), kernels)
    images, labels = next(iter(splits.load(spec, root).train.batches(1)))
    learner.model.train()
    for number in range(3):
        learner.step(images, labels, 0.1, number)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for number in range(steps):
            learner.step(images, labels, 0.1, number)
    spent: Counter[str] = Counter()
    for event in profiled.key_averages():
        spent[PARTS.get(event.key, REST)] += event.self_cpu_time_total
    return {part: 100 * time / spent.total() for part, time in spent.most_common()}


def lines(root: Path, kernels: fused_norm.Kernels) -> list[str]:
    """One line for each mode and precision."""
    found = []
    for mode in ("all", "bn_only", "output_only"):
        for precision in ("fp32", "bf16"):
            spec = TrialSpec.model_validate({"trainable": mode, "precision": precision})
            parts = (f"{name} {share:.0f} %" for name, share in shares(spec, root, kernels).items())
            found.append(f"step, {mode} {precision} {kernels}: {', '.join(parts)}")
    return found
