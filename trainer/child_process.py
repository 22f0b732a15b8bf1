"""The environment of processes that the trainer starts for a trial."""

from __future__ import annotations

import os
from pathlib import Path

_SOURCES = Path(__file__).parents[1]


def environment(**more: str) -> dict[str, str]:
    """This process's, with the package where it is found here, also if it is not installed."""
    paths = os.pathsep.join([str(_SOURCES), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": paths, **more}
