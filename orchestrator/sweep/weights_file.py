"""Pretrained weights in a sweep file: `weights_file: PATH`, which enters a trial by its content.

The trial holds the file's sha256 and no path, so that it is the same trial wherever the file lies.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from orchestrator.sweep.fields import refusal
from orchestrator.sweep.yaml_text import Node

KEY = "weights_file"


def locate(node: Node, folder: Path) -> Path:
    """The absolute path of the file that `node` names, relative to `folder` or to here.

    Raises what a validator raises where it cannot be read.
    """
    if not isinstance(node.value, str) or not node.value:
        raise refusal(f"found {node.shown()}", "the path of a file")
    candidates = [(folder / node.value).absolute(), Path(node.value).absolute()]
    try:
        path = next((path for path in candidates if path.is_file()), None)
        if path is not None:
            sha256(path)
            return path
    except (OSError, ValueError) as error:
        raise refusal(f"found {node.shown()}: cannot be read: {error}") from error
    allowed = "a path from the sweep file's folder or from here"
    raise refusal(f"found {node.shown()}: no such file", allowed)


def sha256(path: Path) -> str:
    """The sha256 of a file's content, read once for as long as the file does not change."""
    return _sha256(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256(path: Path, changed_ns: int) -> str:  # noqa: ARG001 (a changed file is hashed again)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
