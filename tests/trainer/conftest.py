from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer.train import Options


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(data=tmp_path / "data", device="cpu", threads=1, probes=())
