"""Whole trials, with probes, proof and checkpoints, whose tensors lie on two devices."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pretended_gpu import CPU, GPU, PretendedGpu
from small_trials import numbers, small

from trainer import checkpoint, numerics
from trainer.checkpoint import Resume
from trainer.errors import Stopped
from trainer.probes import probes
from trainer.results import Result
from trainer.spec import TrialSpec
from trainer.train import Options, Trial


@pytest.fixture(autouse=True)
def _no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks CUDA's driver and not torch."""
    describe = numerics.describe
    monkeypatch.setattr(
        numerics,
        "describe",
        lambda spec, _, *rest, **named: describe(spec, CPU, *rest, **named),
    )
    monkeypatch.setattr(numerics, "peak_memory_bytes", lambda _: 0)


def run(
    spec: TrialSpec, folder: Path, options: Options, device: torch.device, resume: Resume | None
) -> Result:
    folder.mkdir()
    with numerics.settings(spec, 1), PretendedGpu() as gpu:
        try:
            return Trial(spec, folder, 1, resume, options, device).run()
        finally:
            assert gpu.mixed == []


@pytest.mark.parametrize(
    "fields",
    [
        {"trainable": "all", "brightness": 0.2, "validation": 30},
        {"trainable": "random_k", "k": 2},
        {"trainable": "bn_output", "optimizer": "adam"},
        {"trainable": "nothing"},
    ],
    ids=lambda fields: fields["trainable"],
)
def test_a_trial_begun_on_a_gpu_has_the_cpus_numbers_and_either_goes_on_with_it(
    fields: dict[str, object], tmp_path: Path, options: Options
) -> None:
    spec, options = small(**fields), replace(options, probes=probes.ALL, kernels="stock")
    expected = run(spec, tmp_path / "cpu", options, CPU, None)
    assert "trained/gamma_mean" in expected.metrics
    assert numbers(run(spec, tmp_path / "gpu", options, GPU, None)) == numbers(expected)
    steps = itertools.count()
    stopping = replace(options, poll=lambda: next(steps) == 6)
    with pytest.raises(Stopped):
        run(spec, tmp_path / "stopped", stopping, GPU, None)
    for device in (CPU, GPU):
        resume = checkpoint.find([tmp_path / "stopped"], spec)
        resumed = run(spec, tmp_path / f"on {device.type}", options, device, resume)
        assert numbers(resumed) == numbers(expected)


def test_tensors_of_two_devices_are_noticed() -> None:
    with PretendedGpu() as gpu:
        here, there = torch.zeros(3, device=GPU), torch.zeros(3)
        here.add_(2).mul(here.to(GPU)).cpu().add_(there)
        here.copy_(there)
        assert gpu.mixed == []
        with pytest.raises(TypeError):
            np.asarray(here)
        here + there
        here[torch.tensor([0])]
    assert gpu.mixed == ["aten.add.Tensor", "aten.index.Tensor"]
