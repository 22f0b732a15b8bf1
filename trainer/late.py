"""For tables that must load neither torch nor numpy: functions of modules that do, by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def late(module: str, name: str) -> Callable[..., Any]:
    """A function that calls `name` of `module`, which is imported at the first call."""

    def call(*given: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*given)

    return call
