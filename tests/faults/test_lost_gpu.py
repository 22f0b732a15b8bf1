"""A GPU that is counted and cannot be used, and one that a fault has made useless."""

from __future__ import annotations

import pytest
import torch

from orchestrator.launching import worker

COUNTED = """
import json, sys
from pathlib import Path
from orchestrator import settings
from orchestrator.launching import driver, ray_launcher
from orchestrator.sweep.resources import Resources
from orchestrator.sweep.sweep_spec import SweepSpec
from trainer.spec import TrialSpec

folder, start = Path(sys.argv[1]), ray_launcher.ray.init
ray_launcher.ray.init = lambda **given: start(**given, num_gpus=1)  # as where only torch lacks it
here = settings.load(store=folder / "runs", data=folder / "data")
tiny = TrialSpec(depth=8, dataset="synthetic", image_size=8, train_subset=64, epochs=1)
launcher = ray_launcher.RayLauncher(Resources())
ended = driver.launch(
    SweepSpec(name="tiny", trials=[tiny]), here, lambda: launcher, output_to_log=True
)
print(json.dumps([ended.exit_code, ended.statuses[0].attempt, ended.statuses[0].cause]))
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use a GPU here")
def test_a_gpu_that_torch_cannot_use_fails_its_trials_instead_of_training_on_the_cpu(alone):
    exit_code, attempt, cause = alone(COUNTED)
    assert (exit_code, attempt) == (1, 1)
    assert "torch sees no such GPU here" in cause


def test_a_process_whose_gpu_is_lost_begins_no_trial(monkeypatch):
    worker.check_process()  # a process that has used none is fine
    fault = torch.AcceleratorError if hasattr(torch, "AcceleratorError") else RuntimeError

    def synchronize() -> None:
        raise fault("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    import trainer.numerics  # noqa: F401  # as in a worker that has trained

    with pytest.raises(fault, match="illegal memory access"):
        worker.check_process()
