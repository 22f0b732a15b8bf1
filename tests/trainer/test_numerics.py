from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch
from small_trials import small

from trainer import numerics
from trainer.errors import OutOfMemory, SpecError
from trainer.train import train

CPU = torch.device("cpu")


def test_the_record_tells_thread_counts_and_precisions_apart() -> None:
    record = numerics.describe(small(), CPU, 1)
    assert record == numerics.describe(small(), CPU, 1)
    assert numerics.repeats(record, numerics.describe(small(seed=5), CPU, 1))
    assert not numerics.repeats(record, numerics.describe(small(), CPU, 2))
    assert not numerics.repeats(record, numerics.describe(small(precision="bf16"), CPU, 1))
    assert numerics.repeats(
        record, {**record, "decoder": "pil 1"}
    )  # from before there was a choice
    assert not numerics.repeats({**record, "decoder": "pil 1"}, {**record, "decoder": "pil 2"})
    assert record["device_name"]
    assert record["torch"] == torch.__version__


def test_settings_hold_inside_and_return_after_an_error() -> None:
    torch.set_num_threads(2)
    state = torch.get_rng_state()

    def fail() -> None:
        with numerics.settings(small(deterministic=True), 1):
            assert torch.get_num_threads() == 1
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.utils.deterministic.fill_uninitialized_memory
            torch.rand(3)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["abacus", "mps", "cuda:99"])
def test_an_impossible_device_is_the_user_s_mistake(name) -> None:
    with pytest.raises(SpecError, match=f"device: '{name}'"):
        numerics.choose_device(name)


def test_too_large_a_network_is_out_of_memory_and_nothing_else(tmp_path, options) -> None:
    with pytest.raises(OutOfMemory, match="memory") as caught:
        train(small().model_copy(update={"width": 10**6}), tmp_path, options=options)
    assert caught.value.peak_bytes > 0


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "Triton Error [CUDA]: out of memory",
        "could not create a primitive",
        "could not execute a primitive",
    ],
)
def test_memory_that_is_lacking_is_told_in_all_its_words(message) -> None:
    with pytest.raises(OutOfMemory), numerics.memory_errors(CPU):
        raise RuntimeError(message)


def test_products_of_deterministic_trials_are_allowed_whatever_was_trained_before() -> None:
    code = "import os, trainer.numerics; print(os.environ['CUBLAS_WORKSPACE_CONFIG'])"
    bare = {k: v for k, v in os.environ.items() if k != "CUBLAS_WORKSPACE_CONFIG"}
    found = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True)
    assert found.stdout.strip() in (":4096:8", ":16:8"), found.stderr  # what torch accepts


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("x")])
def test_other_errors_pass_unchanged(error) -> None:
    with pytest.raises(type(error), match=str(error)), numerics.memory_errors(CPU):
        raise error


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc")
def test_the_peak_is_of_this_trial_not_of_the_ones_before() -> None:
    block = torch.ones(60_000_000)  # 240 MB
    high = numerics.peak_memory_bytes(CPU)
    del block
    numerics.reset_peak_memory(CPU)
    assert numerics.peak_memory_bytes(CPU) < high - 150_000_000


def test_the_code_digest_is_a_sha256_and_stays() -> None:
    assert len(numerics.code_digest()) == 64
    assert numerics.code_digest() == numerics.code_digest()
