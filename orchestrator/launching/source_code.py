"""The code of both packages as it lies here: it travels with a job, and tells two nodes apart."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
from pathlib import Path

_PACKAGES = ("orchestrator", "trainer")
_ROOT = Path(__file__).resolve().parents[2]
_GIT_S = 5.0
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold: same files, same bytes


def code_digest() -> str:
    """What tells one state of the code from another, installed or not: 12 hex digits."""
    return hashlib.sha256(zipped(files())).hexdigest()[:12]


def commit(root: Path = _ROOT) -> str:
    """The git commit of the checkout in `root`, with `-dirty` where its files differ from it; empty
    where this is no checkout, or git does not say."""
    if not (root / ".git").exists():  # installed: a repository further up is not ours
        return ""
    git = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        said = subprocess.run(
            git, capture_output=True, encoding="utf-8", timeout=_GIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()


def files() -> dict[str, bytes]:
    """Every file of both packages, by its path from the folder that holds them."""
    return {
        path.relative_to(_ROOT).as_posix(): path.read_bytes()
        for package in _PACKAGES
        for path in (_ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip of the files: the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()
