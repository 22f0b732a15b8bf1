"""`--set key=value`: changes to a sweep file's contents before they are read."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import SweepError
from orchestrator.sweep import resources, weights_file
from orchestrator.sweep.fields import SCHEMAS, nearest
from orchestrator.sweep.yaml_text import Node, Problems, compose

_PLAIN = ("name", "description", "recipe", "retries")
_RESOURCES = tuple(f"resources.{key}" for key in resources.KEYS)
_FIELDS = (*(name for name in SCHEMAS if name != "seed"), weights_file.KEY)
_KEYS = (*_PLAIN, "seeds", *_RESOURCES, *_FIELDS)


def apply(root: Node, overrides: Sequence[str], problems: Problems) -> Node:
    """The contents with each override in place; what is wrong with one goes to `problems`.

    A field that is an axis gets new values; another field becomes an axis where several values are
    given, and else a base value. Of two overrides of one key the later counts.
    """
    for override in overrides:
        if isinstance(root.value, dict):
            root = Node(_applied(root.value, override, problems), root.where)
    return root


def _applied(sections: dict[str, Node], override: str, problems: Problems) -> dict[str, Node]:
    where = f"--set {override[:80]}"
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals:
        problems.add(where, "", "found no '='; allowed: KEY=VALUE or KEY=VALUE,VALUE")
    elif key not in _KEYS:
        near = nearest(key, _KEYS) or nearest(key.rpartition(".")[2], _KEYS)
        problems.add(where, key, f"cannot be set{near}; allowed: {', '.join(_KEYS)}")
    else:
        values = _values(text, where, problems)
        if values is not None:
            return _with(sections, key, values, where, problems)
    return sections


def _values(text: str, where: str, problems: Problems) -> list[Node] | None:
    """The values between commas, as YAML reads them."""
    try:
        node = compose(f"[{text}]", where, problems, line=False)
    except SweepError as error:
        problems.add(where, "", error.lines[0].removeprefix(f"{where}: "))
        return None
    if not isinstance(node.value, list):
        return None
    return node.value or [Node(None, where)]


def _with(
    sections: dict[str, Node], key: str, values: list[Node], where: str, problems: Problems
) -> dict[str, Node]:
    several = Node(values, where)
    if key in _FIELDS:
        return _with_field(sections, key, values, where, problems)
    if key == "seeds":
        return {**sections, key: several if len(values) > 1 else values[0]}
    if len(values) > 1 and key != "description":
        problems.add(where, key, "found several values; allowed: one")
        return sections
    if key in _RESOURCES:
        inner = _mapping(sections.get("resources"))
        entry = {key.partition(".")[2]: values[0]}
        return {**sections, "resources": Node({**inner, **entry}, where)}
    raw = where.removeprefix(f"--set {key}=") if key == "description" else values[0].raw
    return {**sections, key: Node(values[0].value, where, raw, values[0].quoted)}


def _with_field(
    sections: dict[str, Node], field: str, values: list[Node], where: str, problems: Problems
) -> dict[str, Node]:
    base, axes = _mapping(sections.get("base")), _mapping(sections.get("axes"))
    paired = sections.get("paired")
    groups = paired.value if paired and isinstance(paired.value, list) else []
    if any(field in _mapping(group) for group in groups):
        problems.add(where, field, "is under paired; change it in the file")
        return sections
    values = _flattened(field, values)
    if field in axes or len(values) > 1:
        axes = {**axes, field: Node(values, where)}
        base = {name: node for name, node in base.items() if name != field}
    else:
        base = {**base, field: Node(values[0].value, where, values[0].raw, values[0].quoted)}
    changed = {"base": base, "axes": axes}
    kept = {name: Node(entries, where) for name, entries in changed.items() if entries}
    return {**{k: v for k, v in sections.items() if k not in changed}, **kept}


def _flattened(field: str, values: list[Node]) -> list[Node]:
    """`14,32` and `[14, 32]` are the same, but for a field that is a list: one value of it."""
    takes_list = SCHEMAS.get(field, {}).get("type") == "array"
    lists = [node for node in values if isinstance(node.value, list)]
    if takes_list:
        return values if lists else [Node(values, values[0].where)]
    if len(values) == 1 and isinstance(values[0].value, list) and values[0].value:
        return values[0].value
    return values


def _mapping(node: Node | None) -> dict[str, Node]:
    return node.value if node is not None and isinstance(node.value, dict) else {}
