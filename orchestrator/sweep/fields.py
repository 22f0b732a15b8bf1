"""Reads one value of a sweep file from YAML: the value as meant, or what is allowed instead."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import (
    Field,
    GetPydanticSchema,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from orchestrator.sweep.yaml_text import NOT_EXPANDED, VARIABLE, Node
from trainer.data_sets import DATA_SETS
from trainer.modes import MODES
from trainer.networks.descriptions import NETWORKS
from trainer.spec import TrialSpec

Schema = Mapping[str, Any]
CODE_SHA256 = "code_sha256"
_OPTIONS: Schema = {
    "type": "object",
    "additionalProperties": {"type": ["boolean", "number", "string"]},
}
_OWN_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class Surroundings:
    """What a sweep file's values may mean beside what is built in."""

    folder: Path
    """What files named in it are relative to."""
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names that the user's own code defines, by field; empty without such code."""
    trusting: bool = False
    """Whether any name passes, since the code cannot be asked."""


class _Schemas(Mapping[str, Schema]):
    """Field name → its JSON schema: the one source for reading, messages and the editor's schema.

    Networks, data sets and freezing modes may be added while a program runs. Of the user's own
    code a sweep file gives the path, and never its digest.
    """

    def __getitem__(self, name: str) -> Schema:
        return _schemas((*NETWORKS,), (*DATA_SETS,), (*MODES,))[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in TrialSpec.model_fields if name != CODE_SHA256)

    def __len__(self) -> int:
        return len(TrialSpec.model_fields) - 1


@lru_cache(maxsize=1)
def _schemas(*_tables: tuple[str, ...]) -> Mapping[str, Schema]:
    """As they are while the tables hold these names."""
    fields = TrialSpec.model_json_schema()["properties"]
    return MappingProxyType({**fields, "options": _OPTIONS})


SCHEMAS: Mapping[str, Schema] = _Schemas()

_WORDS = {
    "data_id": "the name of one folder in the data folder: up to 64 letters, digits, dots, - and _",
    "weights_sha256": "64 hexadecimal digits, 0-9 and a-f",
}
"""What is allowed where a schema has a pattern, by field."""
MAX_ITEMS = 1000
"""The longest list that is one value of a field."""
_SWITCH = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


def refusal(message: str, allowed: str = "", **hint: Any) -> PydanticCustomError:
    """What a validator raises: a `Problem` that its node and key are added to."""
    return PydanticCustomError("refused", "refused", {"parts": (message, allowed), "hint": hint})


def reading(meant: Schema | str, words: str = "", written: Any = None) -> WrapValidator:
    """Reads a node as meant for what a schema describes, or for a trial's field of this name.

    `words`: what is allowed, where the schema does not say it well. `written`: the type to show
    editors, where more is read than the field has. What is no node, such as a field of a stored
    sweep, is taken as it is.
    """

    if isinstance(meant, str):
        words = words or _WORDS.get(meant, "")

    def read(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if not isinstance(value, Node):
            return handler(value)
        schema = SCHEMAS[meant] if isinstance(meant, str) else meant
        around = info.context
        if isinstance(meant, str) and isinstance(around, Surroundings) and meant in around.own:
            names = around.own[meant]
            choices = schema.get("enum", ("",))
            schema = {**schema, "enum": [*choices, *names]}
            if _defined(as_meant(value, schema), names, around):
                return as_meant(value, schema)
            if "pattern" in schema and value.value not in choices:
                raise mismatch(value, schema, words)
        try:
            return handler(as_meant(value, schema))
        except ValidationError:
            raise mismatch(value, schema, words) from None

    return WrapValidator(read, **({} if written is None else {"json_schema_input_type": written}))


def _defined(name: Any, own: tuple[str, ...], around: Surroundings) -> bool:
    any_name = around.trusting and isinstance(name, str) and _OWN_NAME.fullmatch(name)
    return name in own or bool(any_name)


def typed(kind: Any) -> GetPydanticSchema:
    """Annotates what is read as `kind`, a type that only the running program knows."""
    return GetPydanticSchema(lambda _, handler: handler(kind))


def whole(low: int, high: int) -> Any:
    """The type of a whole number within bounds."""
    words = f"a whole number from {low} to {high}"
    bounds = Field(ge=low, le=high, strict=True)
    return Annotated[int, bounds, reading({"type": "integer"}, words)]


def mismatch(node: Node, schema: Schema, words: str = "") -> PydanticCustomError:
    """`found …; allowed …` for a value that is not what `schema` describes."""
    if schema.get("type") == "array" and len(node.items) > MAX_ITEMS:
        return refusal(f"found {len(node.items):,} values in one list", f"at most {MAX_ITEMS:,}")
    hint = {"word": node.raw, "choices": tuple(schema["enum"])} if "enum" in schema else {}
    return refusal(
        f"found {node.shown()}{_surprise(node, schema)}", words or allowed(schema), **hint
    )


def allowed(schema: Schema) -> str:
    """What a JSON schema allows, in words."""
    if "enum" in schema:
        return ", ".join(schema["enum"])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _bounds(schema)
    if kind == "boolean":
        return "true or false"
    if kind == "object":
        return "a mapping of names (a-z, 0-9 and _) to numbers, words, true or false"
    if kind == "array":
        return f"a list, each {allowed(schema.get('items', {}))}"
    if "const" in schema:
        return str(schema["const"])
    return f"text that matches {schema['pattern']}" if "pattern" in schema else "text"


def _bounds(schema: Schema) -> str:
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    if schema.get("type") == "integer" and {"minimum", "maximum"} <= schema.keys():
        return f" from {schema['minimum']} to {schema['maximum']}"
    parts = [f"{word} {schema[key]:g}" for key, word in words.items() if key in schema]
    return " " + " and ".join(parts) if parts else ""


def as_meant(node: Node, schema: Schema) -> Any:
    """The node's value for a field of this schema: `3e6` as an int, `off` as a switch or a word.

    Hashable, and None where the node cannot be meant for the field.
    """
    kind, value = schema.get("type"), node.value
    if isinstance(value, list):
        if kind != "array" or len(value) > MAX_ITEMS:
            return None
        return tuple(as_meant(item, schema.get("items", {})) for item in value)
    if isinstance(value, dict):
        items = [(n, e.value) for n, e in value.items() if _OWN_NAME.fullmatch(n) and _scalar(e)]
        return tuple(sorted(items)) if kind == "object" and len(items) == len(value) else None
    if kind == "integer" and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if kind == "boolean":
        return _SWITCH.get(node.raw.lower(), value)
    if kind == "text" or (kind == "string" and not node.quoted and value is not None):
        return node.raw
    return value


def _scalar(node: Node) -> bool:
    return isinstance(node.value, str | int | float) and node.value not in (math.inf, -math.inf)


def _surprise(node: Node, schema: Schema) -> str:
    """What YAML would have made of a number written in an odd way; why a huge one is refused; that
    a variable is none here."""
    if isinstance(node.value, str) and VARIABLE.search(node.raw):
        return NOT_EXPANDED
    if schema.get("type") == "integer" and isinstance(node.value, int | float):
        return " (would anybody run it?)" if node.value > schema.get("maximum", math.inf) else ""
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
