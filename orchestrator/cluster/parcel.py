"""What travels with a job: the code of both packages and the sweep file, as one zip."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

_PACKAGES = ("orchestrator", "trainer")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold: same files, same bytes


@dataclass(frozen=True)
class Parcel:
    """A zip and the name that its content gives it."""

    name: str
    content: bytes


def pack(sweep_file: Path | None = None, *, code: bool = True) -> Parcel | None:
    """The zip of the code and of the sweep file, whichever is wanted; None where neither is."""
    files = _code() if code else {}
    if sweep_file is not None:
        files[sweep_file.name] = sweep_file.read_bytes()
    if not files:
        return None
    content = _zipped(files)
    digest = hashlib.sha256(content).hexdigest()[:32]
    return Parcel(f"_ray_pkg_{digest}.zip", content)  # the prefix is Ray's rule for packages


def code_digest() -> str:
    """What tells one state of the code from another, installed or not: 12 hex digits."""
    return hashlib.sha256(_zipped(_code())).hexdigest()[:12]


def _code() -> dict[str, bytes]:
    root = Path(__file__).resolve().parents[2]
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for package in _PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()
