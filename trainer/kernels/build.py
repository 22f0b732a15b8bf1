"""The optional C++ kernel: compiled once on each machine, loaded with ctypes. No torch here.

The library has a plain C interface over pointers, so it needs a compiler and nothing else (no
Python or torch headers) and compiles in about two seconds. Without a compiler the trainer uses
torch's own operators.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("bn_relu.cpp")
FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-fopenmp",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-Wno-psabi",
)
COMPILE_TIMEOUT_S = 120

_P, _I, _F, _N = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int
_SIGNATURES = {
    "forward": (_I, _I, _P, _P, _P, _P, _F, _F, _P, _P, _N, _P, _P, _P, _P, _N),
    "backward": (_I, _I, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _N),
    "apply": (_I, _I, _P, _P, _P, _P, _N, _P, _N),
}


class Unavailable(Exception):
    """There is no kernel on this machine; the message says why in one line."""


@functools.cache
def load() -> ctypes.CDLL:
    """The kernel's library, compiled if this machine has not done so yet.

    Raises:
        Unavailable: no compiler, or it failed, or the cache cannot be written.
    """
    given = shlex.split(os.environ.get("CXX", ""))
    compiler = given or [found for found in map(shutil.which, ("g++", "clang++")) if found][:1]
    if not compiler:
        raise Unavailable("no C++ compiler (g++ or clang++) on the PATH")
    path = cache_folder() / f"bn_relu-{_key(compiler)}.so"
    try:
        if not path.exists():
            _compile(compiler, path)
        return _declare(ctypes.CDLL(str(path)))
    except OSError as error:
        raise Unavailable(f"the kernel could not be built or loaded: {error}") from error


@functools.cache
def problem() -> str:
    """Why there is no kernel on this machine; empty where there is one."""
    try:
        load()
    except Unavailable as error:
        return str(error)
    return ""


def cache_folder() -> Path:
    """`BNSWEEP_CACHE`, else `XDG_CACHE_HOME`/bnsweep, else ~/.cache/bnsweep."""
    if own := os.environ.get("BNSWEEP_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bnsweep"


def _key(compiler: list[str]) -> str:
    """Digest of what decides the machine code: a home folder may be shared by unlike machines."""
    version = _run([*compiler, "--version"])
    text = "\0".join([SOURCE.read_text(encoding="utf-8"), *compiler, version, *FLAGS, _processor()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _processor() -> str:
    """The instruction set that `-march=native` would see."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    named = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(named)}))


def _compile(compiler: list[str], path: Path) -> None:
    """Compile to a temporary name and rename, so that processes may do so at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".compile-") as folder:
        built = Path(folder) / path.name
        _run([*compiler, *FLAGS, str(SOURCE), "-o", str(built)])
        os.replace(built, path)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=COMPILE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]} did not run: {error}") from error
    if done.returncode:
        first = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise Unavailable(f"{command[0]} failed ({done.returncode}): {first}")
    return done.stdout


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    for name, arguments in _SIGNATURES.items():
        for dtype in ("float32", "bfloat16"):
            function = getattr(library, f"{name}_{dtype}")
            function.argtypes, function.restype = arguments, None
    return library
