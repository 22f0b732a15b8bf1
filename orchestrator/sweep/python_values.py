"""A sweep that a Python program gives as values: the text of the sweep file that says the same.

The text is JSON, which is YAML too: it is read, checked and stored as any sweep file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from orchestrator.sweep.problems import Place, Problems

PLACE = "Sweep.of"
"""Stands in messages where a file's name and line do."""
_ALLOWED = "numbers, text, true, false, None, and lists and mappings of them"


def as_text(values: Any) -> str:
    """The sweep as text. Raises SweepError with a line for each value that no file could hold.

    Tuples, ranges and NumPy's arrays and numbers are read as lists and numbers, paths as text.
    """
    problems = Problems()
    plain = None
    try:
        plain = _plain(values, (), problems)
    except RecursionError:
        problems.add(Place(PLACE), "", "found values that contain themselves", "none")
    problems.raise_if_any()
    return json.dumps(plain, indent=1, ensure_ascii=False)


def _plain(value: Any, keys: tuple[str | int, ...], problems: Problems) -> Any:
    if hasattr(value, "tolist"):  # NumPy's
        value = value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(_entries(value, keys, problems))
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(item, (*keys, number), problems) for number, item in enumerate(value)]
    problems.add(Place(PLACE), _dotted(keys), f"found a {type(value).__name__}", _ALLOWED)
    return None


def _entries(
    mapping: Mapping[Any, Any], keys: tuple[str | int, ...], problems: Problems
) -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(key, str):
            yield key, _plain(value, (*keys, key), problems)
        else:
            problems.add(Place(PLACE), _dotted(keys), f"found {key!r} as a key", "text")


def _dotted(keys: Sequence[str | int]) -> str:
    """`axes.depth`, `include[0].lr`."""
    parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return "".join(parts).removeprefix(".")
