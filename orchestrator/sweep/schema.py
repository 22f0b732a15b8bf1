"""The JSON schema of sweep files, for editors: generated from what reads them."""

from __future__ import annotations

from typing import Any

from orchestrator.sweep import resources, sections, weights_file
from orchestrator.sweep.fields import SCHEMAS
from orchestrator.sweep.recipes import RECIPES


def document() -> dict[str, Any]:
    """A JSON schema (2020-12). What needs several values together is checked by `plan` alone."""
    values = {name: schema for name, schema in SCHEMAS.items() if name != "seed"}
    values[weights_file.KEY] = {"type": "string", "description": "a file of pretrained weights"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bnsweep sweep file",
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": _properties(values),
        "$defs": {name: {**schema, "title": name} for name, schema in values.items()},
    }


def _properties(values: dict[str, Any]) -> dict[str, Any]:
    one = {name: {"$ref": f"#/$defs/{name}"} for name in values}
    several = {name: _list(schema) for name, schema in one.items()}
    seed = dict(SCHEMAS["seed"])
    either = {name: {"anyOf": [one[name], several[name]]} for name in SCHEMAS if name != "seed"}
    properties = {
        "name": {"type": "string", "pattern": f"^{sections.NAME_PATTERN}$"},
        "description": {"type": "string"},
        "recipe": {"enum": list(RECIPES)},
        "base": _fields(one, least=0),
        "axes": _fields(several),
        "paired": _list(_fields(several), least=0),
        "exclude": _list(_fields({**either, "seed": {"anyOf": [seed, _list(seed)]}}), least=0),
        "include": _list(_fields({**one, "seed": seed}), least=0),
        "seeds": {"anyOf": [{"type": "integer", "minimum": 1}, _list(seed)]},
        "resources": _resources(),
        "retries": {"type": "integer", "minimum": 0, "maximum": sections.MAX_RETRIES},
    }
    assert tuple(properties) == sections.KEYS
    return properties


def _fields(entries: dict[str, Any], least: int = 1) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": entries,
        "additionalProperties": False,
        "minProperties": least,
    }


def _list(items: dict[str, Any], least: int = 1) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least}


def _resources() -> dict[str, Any]:
    gpus = [{"const": "auto"}, {"type": "number", "minimum": 0, "maximum": 1}]
    share = {"type": "string", "pattern": "^1/[1-9][0-9]*$"}
    pack = [{"enum": ["auto", "off", False]}, _whole(1, resources.MAX_PACK)]
    entries = {
        "cpus": _whole(1, resources.MAX_CPUS),
        "gpus": {"anyOf": [*gpus, share]},
        "pack": {"anyOf": pack},
        "kernels": {"enum": list(resources.KERNELS)},
        "graphs": {"enum": ["on", "off", True, False]},
    }
    return _fields(entries, least=0)


def _whole(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}
