"""What travels with a job: the code of both packages and the sweep file, as one zip."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from orchestrator.launching import source_code


@dataclass(frozen=True)
class Parcel:
    """A zip and the name that its content gives it."""

    name: str
    content: bytes


def pack(sweep_file: Path | None = None, *, code: bool = True) -> Parcel | None:
    """The zip of the code and of the sweep file, whichever is wanted; None where neither is."""
    files = source_code.files() if code else {}
    if sweep_file is not None:
        files[sweep_file.name] = sweep_file.read_bytes()
    if not files:
        return None
    content = source_code.zipped(files)
    digest = hashlib.sha256(content).hexdigest()[:32]
    return Parcel(f"_ray_pkg_{digest}.zip", content)  # the prefix is Ray's rule for packages
