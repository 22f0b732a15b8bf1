"""The suite in Triton's interpreter; test_triton_norm.py starts it in a process of its own."""

from __future__ import annotations

import pytest
from norm_suite import NormSuite

from trainer.kernels import fused_norm, triton_norm


@pytest.fixture(autouse=True)
def _triton_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_norm, "backend", lambda _: triton_norm)


class TestInterpreted(NormSuite):
    device = "cpu"
    bf16_error = 2**-7  # the interpreter cuts a number's last bits off, where a GPU rounds
