"""`--set key=value`: changes to a sweep file's contents before they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.sweep.problems import Place, Problems, nearest
from orchestrator.sweep.sections import VALUES, takes_list
from orchestrator.sweep.sweep_file import RESOURCES, listed
from orchestrator.sweep.yaml_text import Node, compose

_PLAIN = ("name", "description", "recipe", "retries")
_INNER = (*(f"resources.{key}" for key in RESOURCES), "sample.count", "sample.seed")
"""Keys of a section."""
_FIELDS = tuple(name for name in VALUES if name != "seed")
_KEYS = (*_PLAIN, "seeds", *_INNER, *_FIELDS)


def apply(root: Node, overrides: Sequence[str], problems: Problems) -> Node:
    """The contents with each override in place; what is wrong with one goes to `problems`.

    A field that is an axis gets new values; another field becomes an axis where several values are
    given, and else a base value. Of two overrides of one key the later counts.
    """
    for override in overrides:
        if isinstance(root.value, dict):
            root = replace(root, value=_applied(root, override, problems))
    return root


def _applied(root: Node, override: str, problems: Problems) -> dict[str, Node]:
    """The sections with one override in place."""
    place = Place(f"--set {override[:80]}")
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals:
        problems.add(place, "", "found no '='", "KEY=VALUE or KEY=VALUE,VALUE")
    elif key not in _KEYS:
        near = nearest(key, _KEYS) or nearest(key.rpartition(".")[2], _KEYS)
        problems.add(place, key, f"cannot be set{near}", ", ".join(_KEYS))
    elif key == "description":
        return {**root.entries, key: Node(text, place, text)}
    else:
        values = compose(f"[{text}]", place.name, problems, line=False)
        if isinstance(values.value, list):
            items = values.items or [Node(None, place)]
            change = _with_field if key in _FIELDS else _with
            return change(root, key, items, place, problems)
    return root.entries


def _with(
    root: Node, key: str, values: list[Node], place: Place, problems: Problems
) -> dict[str, Node]:
    sections = root.entries
    if key == "seeds":
        return {**sections, key: Node(values, place) if len(values) > 1 else values[0]}
    if len(values) > 1:
        problems.add(place, key, "found several values", "one")
        return sections
    if key in _INNER:
        section, _, name = key.partition(".")
        inner = root.entry(section).entries
        return {**sections, section: Node({**inner, name: values[0]}, place)}
    return {**sections, key: replace(values[0], place=place)}


def _with_field(
    root: Node, field: str, values: list[Node], place: Place, problems: Problems
) -> dict[str, Node]:
    elsewhere = {"paired": [group for _, group in listed(root, "paired")]}
    elsewhere["sample"] = [root.entry("sample").entry("of")]
    for section, groups in elsewhere.items():
        if any(field in group.entries for group in groups):
            problems.add(place, field, f"is under {section}; change it in the file")
            return root.entries
    base, axes = (root.entry(key).entries for key in ("base", "axes"))
    values = _flattened(field, values)
    if field in axes or len(values) > 1:
        axes = {**axes, field: Node(values, place)}
        base = {name: node for name, node in base.items() if name != field}
    else:
        base = {**base, field: replace(values[0], place=place)}
    changed = {"base": base, "axes": axes}
    kept = {name: Node(entries, place) for name, entries in changed.items() if entries}
    return {**{k: v for k, v in root.entries.items() if k not in changed}, **kept}


def _flattened(field: str, values: list[Node]) -> list[Node]:
    """`14,32` and `[14, 32]` are the same, but for a field that is a list: one value of it."""
    if takes_list(field):
        lists = [node for node in values if isinstance(node.value, list)]
        return values if lists else [Node(values, values[0].place)]
    return (len(values) == 1 and values[0].items) or values
