"""YAML text as nodes that know where they stand, without YAML 1.1's surprises.

Plain scalars are read by our own few rules: `true`/`false`, `null`, decimal numbers (`3e6` and
`1e-4` included), everything else is text. What YAML 1.1 would read differently (`off`, `014`,
`1:30`) stays text, and the field it is meant for decides: a switch takes `off`, a number refuses
`014`. Only composed nodes are used, so no tag can build an object. What aliases share stays shared,
and is counted as if written out: a short text cannot stand for a file that is too long to read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import yaml

from orchestrator.sweep.problems import Place, Problems, one_line

Scalar = str | int | float | bool | None

MAX_BYTES = 500_000
MAX_NODES = 20_000
"""Keys and values, with aliases written out; more would take over a second to read."""
_TOO_MANY = f"found more than {MAX_NODES:,} keys and values, with aliases written out"
_STANDARD = "tag:yaml.org,2002:"
_TAGS = ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "seq", "map")
"""What YAML itself resolves to; `read_scalar` decides anew, so they mean nothing here."""
_INT = re.compile(r"[-+]?(0|[1-9][0-9_]{0,30})")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9_]{0,30})?(\.[0-9]{0,30})?([eE][-+]?[0-9]{1,3})?")
VARIABLE = re.compile(r"\$\{?[A-Za-z_]")
NOT_EXPANDED = " (variables are not expanded here; give the value with --set)"
_SYNTAX = {
    "expected <block end>": "the indentation does not fit the lines above",
    "mapping values are not allowed here": "a ':' where none can be; check the indentation, and "
    "put text that holds ': ' into quotes",
    "found character '\\t'": "found a tab; indent with spaces",
    "expected ',' or ']'": "a list in [ ] lacks a ',' or its ']'",
    "expected ',' or '}'": "a mapping in { } lacks a ',' or its '}'",
}
"""The beginnings of PyYAML's messages, in a user's words."""
_CONSTANTS: dict[str, Scalar] = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(frozen=True)
class Node:
    """A value and where it was written; an entry of a mapping stands where its key stands."""

    value: Scalar | list[Node] | dict[str, Node]
    place: Place
    raw: str = ""
    """A scalar as it was written."""
    quoted: bool = False
    size: int = 1
    """How many keys and values this is, with aliases written out."""

    def shown(self) -> str:
        """The value for a message, short."""
        if isinstance(self.value, dict):
            return "a mapping" if self.value else "an empty mapping"
        if isinstance(self.value, list):
            return "a list" if self.value else "an empty list"
        if self.value is None:
            return "nothing"
        text = f'"{self.raw}"' if self.quoted else self.raw
        return one_line(text, 60)

    @property
    def entries(self) -> dict[str, Node]:
        """The entries of a mapping; none for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Node]:
        """The items of a list; none for anything else."""
        return self.value if isinstance(self.value, list) else []

    def entry(self, key: str) -> Node:
        """The entry of a mapping; nothing, at the mapping's own place, where it has none."""
        return self.entries.get(key) or Node(None, self.place)


class _TooManyNodesError(yaml.MarkedYAMLError):
    pass


class _BoundedSafeLoader(yaml.SafeLoader):
    """Gives up where a text has more nodes than are read."""

    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        node = super().compose_node(parent, index)
        self.nodes += 1
        if node and self.nodes > MAX_NODES:
            raise _TooManyNodesError(problem_mark=node.start_mark)
        return node


def compose(text: str, name: str, problems: Problems, *, line: bool = True) -> Node:
    """The document in `text` as nodes, `name:line` their places (`line=False`: `name` alone).

    Nothing where the text is no YAML at all. Why, duplicate keys, tags, keys that are not text and
    too many values are added to `problems`.
    """
    try:
        root = yaml.compose(text, Loader=_BoundedSafeLoader)
        if root is not None:
            return _Converter(name, problems, line).convert(root)
    except RecursionError:
        problems.add(Place(name), "", "nested too deeply")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1 if mark and line else None)
        written = text.splitlines()[mark.line : mark.line + 1] if mark else []
        message, *allowed = _syntax(error)
        hint = NOT_EXPANDED if any(map(VARIABLE.search, written)) else ""
        problems.add(place, "", message + hint, *allowed)
    except yaml.reader.ReaderError as error:
        problems.add(Place(name), "", f"not text: {error.reason} at position {error.position}")
    except (ValueError, OverflowError):  # an escape such as "\UFFFFFFFF"
        problems.add(Place(name), "", "not YAML: an escape that is no character")
    return Node(None, Place(name, 1 if line else None))


def _syntax(error: yaml.MarkedYAMLError) -> tuple[str, ...]:
    if isinstance(error, _TooManyNodesError):
        return _TOO_MANY, f"at most {MAX_NODES:,}"
    problem, context = error.problem or "syntax error", error.context
    for beginning, words in _SYNTAX.items():
        if problem.startswith(beginning):
            return (f"not YAML: {words}",)
    return (f"not YAML: {problem}{f' ({context})' if context else ''}",)


@dataclass
class _Converter:
    name: str
    problems: Problems
    line: bool
    done: dict[int, Node] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)

    def convert(self, node: yaml.Node) -> Node:
        """Each YAML node once: what aliases share stays shared, whatever its unrolled size."""
        if id(node) in self.open:
            self.problems.add(self.place(node), "", "found an alias that contains itself", "none")
            return Node(None, self.place(node))
        if id(node) not in self.done:
            self.open.add(id(node))
            self.done[id(node)] = self._convert(node)
            self.open.remove(id(node))
        return self.done[id(node)]

    def place(self, node: yaml.Node) -> Place:
        mark = node.start_mark
        return Place(self.name, mark.line + 1, mark.column) if self.line else Place(self.name)

    def _convert(self, node: yaml.Node) -> Node:
        place = self.place(node)
        if node.tag.removeprefix(_STANDARD) not in _TAGS:
            self.problems.add(place, "", f"found the tag {node.tag}", "none")
        if isinstance(node, yaml.ScalarNode):
            raw, quoted = str(node.value), node.style is not None
            return Node(raw if quoted else read_scalar(raw), place, raw, quoted)
        pairs = isinstance(node, yaml.MappingNode)
        children = [self.convert(child[1] if pairs else child) for child in node.value]
        size = 1 + sum(child.size + pairs for child in children)
        if size > MAX_NODES and len(self.open) > 1:  # the whole is bounded by its few sections
            self.problems.add(place, "", _TOO_MANY, f"at most {MAX_NODES:,}")
            return Node(None, place)
        return Node(self._mapping(node) if pairs else children, place, size=size)

    def _mapping(self, node: yaml.Node) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in node.value:
            place = self.place(key)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.add(place, "", "found a list or mapping as a key", "text")
                continue
            name, converted = str(key.value), self.convert(value)
            if name == "<<" and key.style is None:
                merged = {**dict(self._merge(converted, place)), **merged}
            elif name in entries:
                message = f"found twice, first in {entries[name].place}"
                self.problems.add(place, name, message, "once")
            else:
                entries[name] = replace(converted, place=place)
        return {**merged, **entries}

    def _merge(self, node: Node, place: Place) -> Iterator[tuple[str, Node]]:
        for source in reversed(node.value if isinstance(node.value, list) else [node]):
            if isinstance(source.value, dict):
                yield from source.value.items()
            else:
                self.problems.add(place, "<<", f"found {source.shown()}", "a mapping")


def read_scalar(raw: str) -> Scalar:
    """A plain scalar by our rules; text where it is no constant and no decimal number, and where
    it is so small a number that a computer makes it zero."""
    if raw.lower() in _CONSTANTS and raw in (raw.lower(), raw.upper(), raw.capitalize()):
        return _CONSTANTS[raw.lower()]
    if _INT.fullmatch(raw):
        return int(raw.replace("_", ""))
    if _FLOAT.fullmatch(raw) and any(digit in raw for digit in "0123456789"):
        mantissa = re.split("[eE]", raw)[0]
        if any(digit in mantissa for digit in "0123456789"):
            value = float(raw.replace("_", ""))
            too_small = not value and any(digit in mantissa for digit in "123456789")
            return raw if too_small else value
    return raw
