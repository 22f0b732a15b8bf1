from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer.train import Options


@pytest.fixture(autouse=True)
def _as_a_trial_computes() -> None:
    """Also where a Learner has no trial around it: on a GPU tf32 is the default."""
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(data=tmp_path / "data", device="cpu", threads=1, graphs=False, probes=())
