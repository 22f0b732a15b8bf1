"""Pretrained weights in a sweep file: `weights_file: PATH`, which enters a trial by its content.

The trial holds the file's sha256 and no path, so that it is the same trial wherever the file lies.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from orchestrator.sweep.yaml_text import Node, Problems

KEY = "weights_file"


def locate(node: Node, label: str, folder: Path, problems: Problems) -> tuple[str, Path] | None:
    """sha256 and absolute path of the file that `node` names, relative to `folder` or to here."""
    if not isinstance(node.value, str) or not node.value:
        problems.add(node.where, label, f"found {node.shown()}; allowed: the path of a file")
        return None
    candidates = [(folder / node.value).absolute(), Path(node.value).absolute()]
    try:
        path = next((path for path in candidates if path.is_file()), None)
        if path is not None:
            return _sha256(path, path.stat().st_mtime_ns), path
        reason = "no such file; allowed: a path from the sweep file's folder or from here"
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {error}"
    problems.add(node.where, label, f"found {node.shown()}: {reason}")
    return None


@lru_cache(maxsize=256)
def _sha256(path: Path, changed_ns: int) -> str:  # noqa: ARG001 (a changed file is hashed again)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
