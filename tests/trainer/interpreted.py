"""The suite in Triton's interpreter; test_kernel_triton.py starts it in a process of its own."""

from __future__ import annotations

import pytest
from norm_suite import NormSuite

from trainer import fused, kernel_triton


@pytest.fixture(autouse=True)
def _triton_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "backend", lambda _: kernel_triton)


class TestInterpreted(NormSuite):
    device = "cpu"
    bf16_error = 2**-7  # the interpreter cuts a number's last bits off, where a GPU rounds
