"""`sample` in a sweep file: how many points, of which ranges."""

from __future__ import annotations

from types import GenericAlias
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Tag,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)

from orchestrator.sweep.fields import SCHEMAS, refusal, typed, whole
from orchestrator.sweep.problems import one_line
from orchestrator.sweep.sample import MAX_POINTS, Range, Sample
from orchestrator.sweep.sections import STRICT, SWEPT, VALUES, section, several
from orchestrator.sweep.yaml_text import Node

KEY = "sample"
KINDS = {"log": "two numbers above 0, the lower first", "uniform": "two numbers, the lower first"}
"""Of ranges: what each has."""
MAX_SEED = 10**9
_A_RANGE = "{log: [LOW, HIGH]} or {uniform: [LOW, HIGH]}"


def _range(name: str) -> Any:
    """What a field is sampled from: a range where it holds numbers, or a list to choose from."""
    numbers = SCHEMAS.get(name, {}).get("type")
    if numbers not in ("integer", "number"):
        return several(name)
    both: Any = GenericAlias(tuple, (VALUES[name], VALUES[name]))
    ends: dict[str, Any] = {k: (Annotated[both, WrapValidator(_ends(k))], None) for k in KINDS}
    config = ConfigDict(**STRICT, json_schema_extra={"minProperties": 1, "maxProperties": 1})
    model: Any = create_model("range", __config__=config, **ends)

    def read(node: Node, handler: ValidatorFunctionWrapHandler) -> Range:
        values = handler(node.value)
        kind: Any = next(iter(node.entries))
        low, high = getattr(values, kind)
        return Range(kind, low, high, whole=numbers == "integer")

    def which(node: Node) -> str:
        return "list" if isinstance(node.value, list) else "range"

    ranged = Annotated[model, WrapValidator(read), Tag("range")]
    either: Any = Annotated[ranged | Annotated[several(name), Tag("list")], Discriminator(which)]
    return Annotated[either, BeforeValidator(_one_range)]


def _one_range(node: Node) -> Node:
    kinds = [*node.entries]
    if node.items or (len(kinds) == 1 and kinds[0] in KINDS):
        return node
    words = "(a field of whole numbers gets whole ones), or a list to choose from"
    hint = {"word": kinds[0], "choices": tuple(KINDS)} if len(kinds) == 1 else {}
    found = one_line(" and ".join(kinds), 60) or node.shown()
    raise refusal(f"found {found}", f"{_A_RANGE} {words}", **hint)


def _ends(kind: str) -> Any:
    """Reads both ends of a range."""

    def read(node: Node, handler: ValidatorFunctionWrapHandler) -> Any:
        if len(node.items) != 2:
            raise refusal(f"found {node.shown()}", KINDS[kind])
        low, high = handler(tuple(node.items))
        if not low < high or (kind == "log" and low <= 0):
            raise refusal(f"found [{low:g}, {high:g}]", KINDS[kind])
        return low, high

    return read


_OF = section("of", {name: _range(name) for name in SWEPT}, f"a mapping of fields to {_A_RANGE}")


class _Sample(BaseModel):
    """Points of ranges."""

    model_config = ConfigDict(**STRICT, title=KEY)

    count: Annotated[int, typed(whole(1, MAX_POINTS))]
    seed: Annotated[int, typed(whole(0, MAX_SEED))] = 0
    of: Annotated[dict[str, Any], _OF]


def _read(node: Node, handler: ValidatorFunctionWrapHandler) -> Sample:
    if not {"count", "of"} <= node.entries.keys():
        found = "without " + " and ".join(k for k in ("count", "of") if k not in node.entries)
        found = f"found {node.shown()}{f' {found}' if node.entries else ''}"
        raise refusal(found, "count: how many points, and of: a mapping of fields to ranges")
    values = handler(node.value)
    return Sample(values.count, values.of, values.seed)


SAMPLE: Any = typed(Annotated[_Sample, WrapValidator(_read)])
"""Annotates what is read as a `Sample`."""


def choices(above: tuple[int | str, ...]) -> tuple[str, ...]:
    """The keys that may stand in the section, or in one of its mappings, named by those above."""
    return (tuple(_Sample.model_fields), SWEPT, tuple(KINDS))[min(len(above), 3) - 1]


def key_of(loc: tuple[int | str, ...]) -> str:
    """The keys with dots between them, without the place in a list."""
    return ".".join(name for name in loc if isinstance(name, str) and name not in ("range", "list"))
