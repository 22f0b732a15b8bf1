"""What stands in a sweep file's sections: values of a trial's fields, lists and mappings of them.

Each is a type of pydantic whose validators read the nodes of the YAML text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)
from typing_extensions import TypeAliasType

from orchestrator.sweep import weights_file
from orchestrator.sweep.fields import SCHEMAS, reading, refusal, typed
from orchestrator.sweep.yaml_text import Node
from trainer.spec import TrialSpec

STRICT = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)


def takes_list(name: str) -> bool:
    """Whether one value of a field is a list."""
    return SCHEMAS.get(name, {}).get("type") == "array"


# -- values of fields, and lists of them -------------------------------------------------------


def _value(name: str) -> Any:
    """The type of one value of a trial's field, under its name in the JSON schema."""
    info = TrialSpec.model_fields[name]
    written = dict[str, bool | int | float | str] if name == "options" else None
    own = reading(name, written=written)
    return TypeAliasType(name, Annotated[info.annotation, *info.metadata, own])


def _locate(node: Node, _: Any, info: ValidationInfo) -> Path:
    around: Any = info.context
    return weights_file.locate(node, around.folder)


_PATH = Annotated[Path, WrapValidator(_locate, str)]
VALUES = {**{n: _value(n) for n in SCHEMAS}, weights_file.KEY: TypeAliasType("weights_file", _PATH)}
"""The fields that a sweep file may give to a trial, and their types."""
SWEPT = tuple(name for name in VALUES if name != "seed")


def one(name: str) -> Any:
    """One value."""

    def read(node: Node) -> Node:
        if isinstance(node.value, list) and not takes_list(name):
            raise refusal("found a list", "one value (several: under axes)")
        return node

    return Annotated[VALUES[name], BeforeValidator(read)]


def _items(node: Node) -> tuple[Node, ...]:
    if not node.items:
        raise refusal(f"found {node.shown()}", "a list with at least one value")
    return tuple(node.items)


def several(name: str) -> Any:
    """A list of values."""
    values = GenericAlias(tuple, (VALUES[name], ...))
    return Annotated[values, Field(min_length=1), BeforeValidator(_items)]


def either(name: str) -> Any:
    """One value, or a list of several."""

    def read(node: Node) -> tuple[Node, ...]:
        one_list = takes_list(name) and not any(isinstance(i.value, list) for i in node.items)
        return _items(node) if isinstance(node.value, list) and not one_list else (node,)

    values, written = GenericAlias(tuple, (VALUES[name], ...)), VALUES[name] | several(name)
    return Annotated[values, BeforeValidator(read, written)]


# -- sections ----------------------------------------------------------------------------------


def section(title: str, entries: Mapping[str, Any], words: str, *, least: int = 1) -> Any:
    """A mapping of fields, as a dictionary in the file's order."""
    config = ConfigDict(**STRICT, json_schema_extra={"minProperties": least})
    optional: dict[str, Any] = {name: (kind, None) for name, kind in entries.items()}
    model: Any = create_model(title, __config__=config, **optional)

    def read(node: Node, handler: ValidatorFunctionWrapHandler) -> dict[str, Any]:
        if node.value is None and not least:
            return {}
        if not isinstance(node.value, dict) or len(node.value) < least:
            raise refusal(f"found {node.shown()}", words)
        values = handler(node.value)
        return {name: getattr(values, name) for name in node.value}

    return typed(Annotated[model, WrapValidator(read)])
