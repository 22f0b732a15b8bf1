"""How a trial is computed: the settings of torch that change bits or speed, and their record.

Settings are global in torch, so they hold for one trial and are put back after it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch

from trainer.errors import OutOfMemory, SpecError
from trainer.spec import TrialSpec

# torch reads it once, at a process's first matrix product on a GPU, and refuses products of
# deterministic trials without it; a worker may have trained others before.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def choose_device(name: str) -> torch.device:
    """`auto`: a CUDA device where there is one, else the CPU. Raises SpecError for an unknown."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SpecError(f"device: {name!r} is not a device; use auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise SpecError(f"device: {name!r} is not supported; use auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SpecError(
            f"device: {name!r} was asked for, but torch sees no such GPU here; does the "
            "driver fit torch's CUDA?"
        )
    return device


def check_device() -> None:
    """Raise torch's error where a fault has made the GPU useless for this process."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def describe(
    spec: TrialSpec,
    device: torch.device,
    threads: int,
    kernels: str = "stock",
    graph: bool = False,
    packed: int = 1,
    processes: int = 1,
) -> dict[str, Any]:
    """What besides the spec decides the bits. Two trials with equal records give equal numbers.

    `packed`: how many trials one program trained together, and `processes`: how many trained this
    one; they change no bits."""
    cuda = device.type == "cuda"
    fused = {"triton": _triton_version()} if cuda and kernels == "fused" else {}
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if cuda else _cpu_name(),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version() if cuda else None,  # type: ignore[no-untyped-call]
        "threads": threads,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "precision": "autocast bfloat16" if spec.precision == "bf16" else "float32 without tf32",
        "kernels": kernels,
        **fused,
        "graph": graph,
        "packed": packed,
        "processes": processes,
        "deterministic": spec.deterministic,
    }


def _triton_version() -> str:
    """It compiles the fused kernel of a GPU, which loads it already."""
    return str(importlib.import_module("triton").__version__)


@functools.cache
def _cpu_name() -> str:
    """The model: kernels are chosen by its caches and instructions."""
    with suppress(OSError):
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def repeats(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether what was computed under one record of `describe` goes on bit for bit under another.

    On a GPU only `deterministic` kernels repeat their bits."""
    return (now["device"] == "cpu" or now["deterministic"]) and not unlike(before, now)


def unlike(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """In what two records differ that decides bits.

    A pack's members have those of a trial alone, so has a trial of several processes, and records
    older than the choice of a decoder name none."""
    decoder = {"decoder": now["decoder"]} if "decoder" in now else {}
    same_bits = {"packed": 1, "processes": 1}
    one, other = {**decoder, **before, **same_bits}, {**now, **same_bits}
    missing = object()
    return [k for k in sorted({*one, *other}) if one.get(k, missing) != other.get(k, missing)]


@contextmanager
def settings(spec: TrialSpec, threads: int) -> Iterator[None]:
    """torch's global settings for one trial; the earlier ones return at the end."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    filling: Any = torch.utils.deterministic
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.benchmark,
        cudnn.deterministic,
        cudnn.allow_tf32,
        matmul.allow_tf32,
        filling.fill_uninitialized_memory,
    )
    random_state = torch.get_rng_state()  # building a module draws from the global generator
    try:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(spec.deterministic)
        filling.fill_uninitialized_memory = False  # a kernel for each tensor; nothing here needs it
        cudnn.benchmark, cudnn.deterministic = False, spec.deterministic
        cudnn.allow_tf32 = matmul.allow_tf32 = False
        yield
    finally:
        torch.set_rng_state(random_state)
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = before[3:6]
        matmul.allow_tf32, filling.fill_uninitialized_memory = before[6:8]


def current(device: torch.device) -> AbstractContextManager[Any]:
    """On a GPU: streams and graphs that name no device are made on this one meanwhile."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def autocast(spec: TrialSpec, device: torch.device) -> AbstractContextManager[Any]:
    """For bf16: convolutions and the output layer in bfloat16, BatchNorm's sums in fp32."""
    if spec.precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


@contextmanager
def memory_errors(device: torch.device) -> Iterator[None]:
    """Tell an out-of-memory error, which looks different everywhere, from all others."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
            raise
        reason = (str(error) or "no memory left").splitlines()[0]
        raise OutOfMemory(reason, peak_memory_bytes(device)) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "not enough memory" in text
        or "can't allocate memory" in text
        or "out of memory" in text  # CUDA's and Triton's own calls
        or "STATUS_ALLOC_FAILED" in text  # cuBLAS, cuDNN
        or text.startswith(("could not create a primitive", "could not execute a primitive"))
        # oneDNN's words, seen where it had no memory. It says no more in other cases either, but a
        # trial ends in both, with these words as the cause.
    )


def reset_peak_memory(device: torch.device) -> None:
    """Begin to measure: a reused worker had other trials before this one.

    What they left in torch's cache of a GPU's memory goes to whoever shares the GPU.
    """
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]  # or cuda:0 has no statistics yet
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # Linux alone has it; elsewhere the peak is the process's
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_memory_bytes(device: torch.device) -> int:
    """The most in use since the reset: on a GPU by tensors, on the CPU by the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@functools.cache
def code_digest() -> str:
    """sha256 over the trainer's sources, names and contents."""
    digest = hashlib.sha256()
    sources = (p for p in Path(__file__).parent.rglob("*") if p.suffix in (".py", ".cpp", ".h"))
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
