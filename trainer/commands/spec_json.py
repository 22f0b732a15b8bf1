"""Specs as JSON: what cannot be read as one is the user's mistake, with a line for each problem."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer.errors import SpecError
from trainer.spec import TrialSpec

_STANDARD_INPUT = "standard input"


def read(path: Path) -> Any:
    """The content of a JSON file. Raises SpecError."""
    try:
        return decode(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})") from error


def decode(text: str, source: object) -> Any:
    """The value of a JSON text; `source` says in an error where it came from. Raises SpecError."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise SpecError(f"{source}: not JSON ({error})") from error


def read_list() -> list[Any]:
    """The list of specs on standard input, unparsed. Raises SpecError."""
    fields = decode(sys.stdin.read(), _STANDARD_INPUT)
    if not isinstance(fields, list):
        raise SpecError(f"{_STANDARD_INPUT}: not a list of specs")
    return fields


def read_specs() -> list[TrialSpec]:
    """The specs on standard input. Raises SpecError."""
    return [parse(fields, _STANDARD_INPUT) for fields in read_list()]


def parse(fields: Any, source: object) -> TrialSpec:
    """The spec with these fields, the others at their defaults. Raises SpecError."""
    try:
        return TrialSpec.model_validate(fields)
    except ValidationError as error:
        lines = (_problem(source, details) for details in error.errors())
        raise SpecError("\n".join(lines)) from error


def _problem(source: object, details: Any) -> str:
    field = ".".join(str(part) for part in details["loc"])
    message = details["msg"].removeprefix("Value error, ")
    found = f" (found {details['input']!r})" if field else ""
    return f"{source}: {field + ': ' if field else ''}{message}{found}"
