"""Compiling the optional kernel: once on a machine, safe side by side, never required."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainer.kernels import build

COMPILES = not build.problem()
ASK = "from trainer.kernels import build; print(build.problem() or 'loaded')"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and a loader that has not looked yet."""
    monkeypatch.setenv("BNSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "load", build.load.__wrapped__)
    monkeypatch.setattr(build, "problem", build.problem.__wrapped__)
    return tmp_path / "cache"


@pytest.mark.skipif(not COMPILES, reason="no compiler")
def test_processes_that_compile_at_the_same_time_all_get_a_whole_library(fresh: Path) -> None:
    asked = [
        subprocess.Popen([sys.executable, "-c", ASK], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in asked] == ["loaded"] * 3
    assert [path.suffix for path in fresh.iterdir()] == [".so"]


@pytest.mark.skipif(not COMPILES, reason="no compiler")
def test_a_library_in_the_cache_is_not_compiled_again(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.load()
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled again"))
    build.load()


def test_without_a_compiler_the_reason_is_said(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(fresh))
    assert "no C++ compiler" in build.problem()


def test_a_compiler_that_fails_is_a_reason_not_a_crash(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "false")
    assert "false failed" in build.problem()
    monkeypatch.setenv("CXX", str(fresh / "missing"))
    assert "did not run" in build.problem()


@pytest.mark.skipif(not COMPILES, reason="no compiler")
def test_a_cache_that_cannot_be_written_is_a_reason(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.write_text("a file where the folder should be")
    assert "could not be built" in build.problem()


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BNSWEEP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert build.cache_folder() == Path("/somewhere/bnsweep")
