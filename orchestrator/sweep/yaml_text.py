"""YAML text as nodes that know where they stand, without YAML 1.1's surprises.

Plain scalars are read by our own few rules: `true`/`false`, `null`, decimal numbers (`3e6` and
`1e-4` included), everything else is text. What YAML 1.1 would read differently (`off`, `014`,
`1:30`) stays text, and the field it is meant for decides: a switch takes `off`, a number refuses
`014`. Only composed nodes are used, so no tag can build an object.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from orchestrator.errors import SweepError

Scalar = str | int | float | bool | None

MAX_BYTES = 4_000_000
MAX_PROBLEMS = 40
_STANDARD = "tag:yaml.org,2002:"
_TAGS = ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "seq", "map")
"""What YAML itself resolves to; `read_scalar` decides anew, so they mean nothing here."""
_INT = re.compile(r"[-+]?(0|[1-9][0-9_]{0,30})")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9_]{0,30})?(\.[0-9]{0,30})?([eE][-+]?[0-9]{1,3})?")
_PLACE = re.compile(r".*?:([0-9]+): ")
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
    where: str
    """`file:line`, or the `--set` that gave it."""
    raw: str = ""
    """A scalar as it was written."""
    quoted: bool = False

    def shown(self) -> str:
        """The value for a message, short."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        if self.value is None:
            return "nothing"
        text = f'"{self.raw}"' if self.quoted else self.raw
        return one_line(text, 60)


def one_line(text: str, most: int = 2000) -> str:
    """The text on one printable line of at most `most` characters."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


@dataclass
class Problems:
    """Collects what is wrong with a file, so that the user sees all of it at once."""

    lines: dict[str, None] = field(default_factory=dict)

    def add(self, where: str, key: str, message: str) -> None:
        """One line; the same line twice is one problem."""
        parts = [where, one_line(key, 80), message] if key else [where, message]
        self.lines[one_line(": ".join(parts))] = None

    def raise_if_any(self) -> None:
        """End with a `SweepError` of all lines (the first 40 of very many)."""
        lines = sorted(self.lines, key=_line_number)
        if len(lines) > MAX_PROBLEMS:
            rest = len(lines) - MAX_PROBLEMS
            lines = [*lines[:MAX_PROBLEMS], f"… and {rest} more problems of these kinds"]
        if lines:
            raise SweepError(*lines)


def _line_number(problem: str) -> float:
    """Where in the file the problem is; those of `--set` come last, as they were found."""
    place = _PLACE.match(problem)
    return int(place[1]) if place else math.inf


def compose(text: str, name: str, problems: Problems, *, line: bool = True) -> Node:
    """The document in `text` as nodes, `name:line` their places (`line=False`: `name` alone).

    Raises SweepError where the text is no YAML at all; duplicate keys, tags and keys that are not
    text are added to `problems`.
    """
    if len(text) > MAX_BYTES:
        raise SweepError(f"{name}: found {len(text):,} characters; allowed {MAX_BYTES:,}")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise SweepError(one_line(_syntax_line(error, name, line))) from error
    except yaml.reader.ReaderError as error:
        raise SweepError(
            f"{name}: not text: {error.reason} at position {error.position}"
        ) from error
    except RecursionError as error:
        raise SweepError(f"{name}: nested too deeply") from error
    except (ValueError, OverflowError) as error:  # an escape such as "\UFFFFFFFF"
        raise SweepError(f"{name}: not YAML: an escape that is no character") from error
    if root is None:
        return Node(None, f"{name}:1" if line else name)
    return _Converter(name, problems, line).convert(root)


def _syntax_line(error: yaml.MarkedYAMLError, name: str, line: bool) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}" if mark and line else name
    problem, context = error.problem or "syntax error", error.context
    for beginning, words in _SYNTAX.items():
        if problem.startswith(beginning):
            return f"{where}: not YAML: {words}"
    return f"{where}: not YAML: {problem}{f' ({context})' if context else ''}"


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
            self.problems.add(
                self.where(node), "", "found an alias that contains itself; allowed: none"
            )
            return Node(None, self.where(node))
        if id(node) not in self.done:
            self.open.add(id(node))
            self.done[id(node)] = self._convert(node)
            self.open.remove(id(node))
        return self.done[id(node)]

    def where(self, node: yaml.Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}" if self.line else self.name

    def _convert(self, node: yaml.Node) -> Node:
        where = self.where(node)
        if node.tag.removeprefix(_STANDARD) not in _TAGS:
            self.problems.add(where, "", f"found the tag {node.tag}; allowed: none")
        if isinstance(node, yaml.MappingNode):
            return Node(self._mapping(node), where)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.convert(item) for item in node.value], where)
        raw = str(node.value)
        quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
        return Node(raw if quoted else read_scalar(raw), where, raw, quoted)

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in node.value:
            where = self.where(key)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.add(where, "", "found a list or mapping as a key; allowed: text")
                continue
            name, converted = str(key.value), self.convert(value)
            if name == "<<" and key.style is None:
                merged = {**dict(self._merge(converted, where)), **merged}
            elif name in entries:
                self.problems.add(
                    where, name, f"found twice, first in {entries[name].where}; allowed: once"
                )
            else:
                entries[name] = Node(converted.value, where, converted.raw, converted.quoted)
        return {**merged, **entries}

    def _merge(self, node: Node, where: str) -> Iterator[tuple[str, Node]]:
        sources = node.value if isinstance(node.value, list) else [node]
        for source in reversed(sources):
            if isinstance(source.value, dict):
                yield from source.value.items()
            else:
                self.problems.add(where, "<<", f"found {source.shown()}; allowed: a mapping")


def read_scalar(raw: str) -> Scalar:
    """A plain scalar by our rules; text where it is no constant and no decimal number."""
    if raw.lower() in _CONSTANTS and raw in (raw.lower(), raw.upper(), raw.capitalize()):
        return _CONSTANTS[raw.lower()]
    if _INT.fullmatch(raw):
        return int(raw.replace("_", ""))
    if _FLOAT.fullmatch(raw) and any(digit in raw for digit in "0123456789"):
        mantissa = re.split("[eE]", raw)[0]
        if any(digit in mantissa for digit in "0123456789"):
            return float(raw.replace("_", ""))
    return raw
