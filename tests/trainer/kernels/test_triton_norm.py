"""The Triton kernel where there is no GPU: its interpreter, and its compiler."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainer.errors import SpecError
from trainer.kernels import fused_norm

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="this torch comes without Triton"
)
COMPILE = """
import json, sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from trainer.kernels import triton_programs

for name, types, constants in json.loads(sys.argv[1]):
    program = getattr(triton_programs, name)
    signature = {n: types.get(n, "constexpr") for n in program.arg_names}
    constants = {n: constants.get(n) for n, t in signature.items() if t == "constexpr"}
    pointers = [i for i, kind in enumerate(signature.values()) if "*" in kind]
    aligned = {(i,): [["tt.divisibility", 16]] for i in pointers}
    source = ASTSource(program, signature, constants, aligned)
    for capability in (80, 90):
        built = triton.compile(source, GPUTarget("cuda", capability, 32), {"num_warps": 8})
        ptx = built.asm["ptx"]
        wide, local = "ld.global.v4.b32" in ptx, ".local" in ptx
        print(name, capability, len(built.asm["cubin"]) > 0, wide, local)
"""
SHAPE = {"CHANNELS": 16, "BLOCK_ROWS": 256, "BLOCK_CHANNELS": 16}
IMAGES = dict.fromkeys(("y", "residual", "z", "dz", "kept", "dy"), "*bf16") | {"mask": "*i8"}
STATISTICS = ("gamma", "beta", "running_mean", "running_var", "part", "saved", "d_affine")
TYPES = {
    **IMAGES,
    **dict.fromkeys(STATISTICS, "*fp32"),
    **dict.fromkeys(("rows", "chunk", "parts"), "i32"),
    **dict.fromkeys(("eps", "momentum"), "fp32"),
}
FP32 = TYPES | dict.fromkeys(("y", "residual", "z", "dz", "kept", "dy"), "*fp32")
NO, MASK, SIGN = 0, 1, 2


def without(types: dict[str, str], *absent: str) -> dict[str, str]:
    """As when these are None."""
    return {name: kind for name, kind in types.items() if name not in absent}


PROGRAMS = [
    ("moments", TYPES, SHAPE),
    ("normalise", TYPES, {**SHAPE, "RESIDUAL": True, "RELU": MASK}),
    ("normalise", without(FP32, "residual", "mask"), {**SHAPE, "RESIDUAL": False, "RELU": SIGN}),
    ("normalise_by_running", TYPES, {**SHAPE, "RESIDUAL": True, "RELU": SIGN}),
    ("gradient_sums", TYPES, {**SHAPE, "RELU": MASK, "KEEP": True}),
    ("gradient_sums", without(FP32, "mask", "kept"), {**SHAPE, "RELU": SIGN, "KEEP": False}),
    ("gradients", without(TYPES, "mask"), {**SHAPE, "RELU": SIGN, "INPUT": True}),
    ("gradients", without(TYPES, "mask", "dy"), {**SHAPE, "RELU": NO, "INPUT": False}),
]


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: a program is for the interpreter or for a GPU from its import on."""
    plain = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**plain, "PYTHONPATH": str(HERE.parents[2]), **environment},
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


@needs_triton
def test_the_suite_holds_in_tritons_interpreter() -> None:
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "interpreted.py"))
    done = python(*command, TRITON_INTERPRET="1", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@needs_triton
def test_the_programs_compile_for_ampere_and_hopper_reading_16_bytes_at_a_time(
    tmp_path: Path,
) -> None:
    done = python("-c", COMPILE, json.dumps(PROGRAMS), TRITON_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [f"{name} {target}" for name, *_ in PROGRAMS for target in (80, 90)]
    assert done.stdout.splitlines() == [f"{line} True True False" for line in lines]


@needs_triton
@pytest.mark.parametrize("channels", [1, 16, 24, 64, 2048])
@pytest.mark.parametrize("rows", [2, 255, 8192, 131_072, 1_605_632])
def test_the_parts_cover_all_rows_and_none_is_empty(rows: int, channels: int) -> None:
    kernel_triton = importlib.import_module("trainer.kernels.triton_norm")
    for summed in (False, True):
        cut = kernel_triton.tiling(rows, channels, summed)
        assert (cut.parts - 1) * cut.chunk < rows <= cut.parts * cut.chunk
        assert cut.chunk % cut.block_rows == 0
        assert cut.block_rows * cut.block_channels == kernel_triton.TILE
        assert cut.grid[1] * cut.block_channels >= channels
    assert cut.parts <= kernel_triton.MOST_PARTS


def test_on_a_gpu_auto_is_fused_in_a_graph_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    assert fused_norm.choose("auto", gpu, graphs=False) == "stock"
    monkeypatch.setattr(fused_norm, "_problem", lambda _: "")
    assert fused_norm.choose("auto", gpu, graphs=True) == "fused"
    monkeypatch.setattr(fused_norm, "_problem", lambda _: "no Triton")
    assert fused_norm.choose("auto", gpu, graphs=True) == "stock"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_triton_cannot_run_fused_is_the_users_mistake_in_one_line() -> None:
    with pytest.raises(SpecError, match="kernels: fused cannot be had here: Triton") as error:
        fused_norm.choose("fused", torch.device("cuda"))
    assert "\n" not in str(error.value)


def test_a_torch_without_triton_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fused_norm.backend.cache_clear()
    monkeypatch.setitem(sys.modules, "trainer.kernels.triton_norm", None)
    with pytest.raises(SpecError, match="Triton cannot be imported"):
        fused_norm.choose("fused", torch.device("cuda"))
