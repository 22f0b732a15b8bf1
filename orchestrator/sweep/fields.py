"""Reads one field of a trial spec from YAML: the value as meant, or what is allowed instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError

from orchestrator.sweep.yaml_text import Node, Problems
from trainer.data_sets import DATA_SETS
from trainer.modes import MODES
from trainer.networks.descriptions import NETWORKS
from trainer.spec import TrialSpec


class _Schemas(Mapping[str, Mapping[str, Any]]):
    """Field name → its JSON schema: the one source for reading, messages and the editor's schema.

    Networks, data sets and freezing modes may be added while a program runs.
    """

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return _schemas((*NETWORKS,), (*DATA_SETS,), (*MODES,))[name]

    def __iter__(self) -> Iterator[str]:
        return iter(TrialSpec.model_fields)

    def __len__(self) -> int:
        return len(TrialSpec.model_fields)


@lru_cache(maxsize=1)
def _schemas(*_tables: tuple[str, ...]) -> Mapping[str, Mapping[str, Any]]:
    """As they are while the tables hold these names."""
    return MappingProxyType(TrialSpec.model_json_schema()["properties"])


SCHEMAS: Mapping[str, Mapping[str, Any]] = _Schemas()

_SWITCH = {"yes": True, "on": True, "no": False, "off": False}


class Setting(NamedTuple):
    """A value that a sweep file gives to a field, and where it does."""

    value: Any
    where: str
    label: str
    """The key in messages: `axes.depth`."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean depth?` where something allowed is spelled nearly so, else nothing."""
    close = difflib.get_close_matches(word[:80], list(allowed), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def read_field(name: str, node: Node, problems: Problems, label: str) -> Setting | None:
    """The value of field `name`; a problem (keyed `label`) and None where it has no such value."""
    schema = SCHEMAS[name]
    try:
        value = _adapter(name).validate_python(_as_meant(node, schema))
    except ValidationError:
        problems.add(node.where, label, mismatch(node, schema))
        return None
    return Setting(value, node.where, label)


def mismatch(node: Node, schema: Mapping[str, Any]) -> str:
    """`found …; allowed …` for a value that is not what `schema` describes."""
    hint = nearest(node.raw, schema["enum"]) if "enum" in schema else ""
    return f"found {node.shown()}{_surprise(node, schema)}; allowed: {allowed(schema)}{hint}"


def allowed(schema: Mapping[str, Any]) -> str:
    """What a JSON schema allows, in words."""
    if "enum" in schema:
        return ", ".join(schema["enum"])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _bounds(schema)
    if kind == "boolean":
        return "true or false"
    if kind == "array":
        return f"a list, each {allowed(schema['items'])}"
    if "const" in schema:
        return str(schema["const"])
    return f"text that matches {schema['pattern']}" if "pattern" in schema else "text"


def _bounds(schema: Mapping[str, Any]) -> str:
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    parts = [f"{word} {schema[key]:g}" for key, word in words.items() if key in schema]
    return " " + " and ".join(parts) if parts else ""


def _as_meant(node: Node, schema: Mapping[str, Any]) -> Any:
    """The node's value for a field of this schema: `3e6` as an int, `off` as a switch or a word."""
    kind, value = schema.get("type"), node.value
    if isinstance(value, list):
        return tuple(_as_meant(item, schema.get("items", {})) for item in value[:1000])
    if isinstance(value, dict):
        return {}
    if kind == "integer" and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if kind == "boolean" and not node.quoted:
        return _SWITCH.get(node.raw.lower(), value)
    if kind == "string" and not node.quoted and value is not None:
        return node.raw
    return value


def _surprise(node: Node, schema: Mapping[str, Any]) -> str:
    """What YAML would have made of a number written in an odd way."""
    if schema.get("type") not in ("integer", "number") or not isinstance(node.value, str):
        return ""
    if node.quoted:
        return " (text; numbers stand without quotes)"
    if re.fullmatch(r"[-+]?0[0-7]{1,20}", node.raw):
        return f" (YAML would read {int(node.raw, 8)}; write it without the leading zero)"
    if re.fullmatch(r"[0-9]{1,9}:[0-5]?[0-9]", node.raw):
        minutes, seconds = node.raw.split(":")
        return f" (YAML would read {int(minutes) * 60 + int(seconds)})"
    return ""


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    info = TrialSpec.model_fields[name]
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    annotation: Any = info.annotation
    for constraint in info.metadata:
        annotation = Annotated[annotation, constraint]
    return TypeAdapter(annotation, config=strict)
