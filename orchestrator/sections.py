"""Reads the top-level keys of a sweep file, each into its checked form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.fields import SCHEMAS, Setting, nearest, read_field
from orchestrator.recipes import RECIPES
from orchestrator.yaml_text import Node, Problems

KEYS = (
    "name",
    "description",
    "recipe",
    "base",
    "axes",
    "seeds",
    "resources",
    "retries",
)
NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,63}"
MAX_RETRIES = 100

Fields = dict[str, Setting]
Columns = dict[str, list[Setting]]


@dataclass(frozen=True)
class Resources:
    """What one trial asks of a machine."""

    cpus: int = 1
    gpus: Literal["auto"] | float = "auto"
    """auto: a share of a GPU where there is one, else none; 0, 1 or 1/k."""
    pack: Literal["auto", "off"] | int = "auto"
    """How many trials one worker may train together."""


@dataclass
class Draft:
    """A sweep file's contents, each value checked by itself; not yet expanded."""

    name: str = ""
    description: str = ""
    recipe: str = ""
    recipe_where: str = ""
    base: Fields = field(default_factory=dict)
    axes: Columns = field(default_factory=dict)
    paired: list[Columns] = field(default_factory=list)
    exclude: list[Columns] = field(default_factory=list)
    include: list[Fields] = field(default_factory=list)
    seeds: Sequence[int] = (0,)
    resources: Resources = Resources()
    retries: int = 2


def read_sections(root: Node, problems: Problems) -> Draft:
    """All sections of a sweep file; what is wrong goes to `problems`."""
    if not isinstance(root.value, dict):
        problems.add(root.where, "", f"found {root.shown()}; allowed: a mapping with name and axes")
        return Draft()
    for key, node in root.value.items():
        if key not in KEYS:
            near = nearest(key, KEYS) or _belongs_in_base(key)
            problems.add(node.where, key, f"unknown key{near}; allowed: {', '.join(KEYS)}")
    return _Reader(root, root.value, problems).read()


def _belongs_in_base(key: str) -> str:
    return f"; {key} is a field of a trial: put it under base or axes" if key in SCHEMAS else ""


@dataclass
class _Reader:
    root: Node
    sections: Mapping[str, Node]
    problems: Problems

    def read(self) -> Draft:
        recipe = self.sections.get("recipe")
        return Draft(
            name=self.name(),
            description=self.text("description"),
            recipe=self.recipe(),
            recipe_where=recipe.where if recipe else self.root.where,
            base=self.fields("base", self.sections.get("base")),
            axes=self.columns("axes", self.sections.get("axes")),
            seeds=self.seeds(),
            resources=self.resources(),
            retries=self.whole("retries", self.sections.get("retries"), 2, 0, MAX_RETRIES),
        )

    def name(self) -> str:
        node = self.sections.get("name")
        rule = "a-z, 0-9, _ and -, beginning with a letter or digit, at most 64"
        if node is None:
            self.problems.add(self.root.where, "name", f"missing; allowed: {rule}")
            return ""
        if isinstance(node.value, list | dict) or not re.fullmatch(NAME_PATTERN, node.raw):
            self.problems.add(node.where, "name", f"found {node.shown()}; allowed: {rule}")
            return ""
        return node.raw

    def text(self, key: str) -> str:
        node = self.sections.get(key)
        if node is not None and isinstance(node.value, list | dict):
            self.problems.add(node.where, key, f"found {node.shown()}; allowed: text")
            return ""
        return node.raw if node else ""

    def recipe(self) -> str:
        node = self.sections.get("recipe")
        if node is None:
            return ""
        if not isinstance(node.value, str) or node.value not in RECIPES:
            near = nearest(node.raw, RECIPES)
            known = ", ".join(RECIPES)
            self.problems.add(node.where, "recipe", f"found {node.shown()}; allowed: {known}{near}")
            return ""
        return node.value

    def entries(self, label: str, node: Node | None, what: str) -> Mapping[str, Node]:
        """A mapping's entries whose keys are fields of a trial."""
        if node is None:
            return {}
        if not isinstance(node.value, dict) or not node.value:
            self.problems.add(node.where, label, f"found {_empty(node)}; allowed: {what}")
            return {}
        return {key: value for key, value in node.value.items() if self.is_field(label, key, value)}

    def is_field(self, label: str, key: str, node: Node) -> bool:
        if key == "seed":
            self.problems.add(node.where, f"{label}.seed", "not here; allowed: seeds, at the top")
            return False
        if key not in SCHEMAS:
            message = f"unknown field{nearest(key, SCHEMAS)}; allowed: {', '.join(SCHEMAS)}"
            self.problems.add(node.where, f"{label}.{key}", message)
            return False
        return True

    def fields(self, label: str, node: Node | None) -> Fields:
        read: Fields = {}
        for key, value in self.entries(label, node, "a mapping of fields to values").items():
            setting = read_field(key, value, self.problems, f"{label}.{key}")
            if setting is not None:
                read[key] = setting
        return read

    def columns(self, label: str, node: Node | None) -> Columns:
        read: Columns = {}
        for key, value in self.entries(label, node, "a mapping of fields to lists").items():
            name = f"{label}.{key}"
            if not isinstance(value.value, list) or not value.value:
                message = f"found {_empty(value)}; allowed: a list with at least one value"
                self.problems.add(value.where, name, message)
                continue
            settings = [read_field(key, item, self.problems, name) for item in value.value]
            read[key] = [setting for setting in settings if setting is not None]
            self.refuse_repeats(name, read[key])
        return read

    def refuse_repeats(self, label: str, settings: list[Setting]) -> None:
        seen = set()
        for value, where, _ in settings:
            if value in seen:
                self.problems.add(where, label, f"found {value} twice; allowed: each value once")
            seen.add(value)

    def seeds(self) -> Sequence[int]:
        node = self.sections.get("seeds")
        if node is None:
            return (0,)
        if not isinstance(node.value, list):
            return range(self.whole("seeds", node, 1, 1, 10**9))
        if not node.value:
            self.problems.add(node.where, "seeds", "found an empty list; allowed: at least one")
        read = [read_field("seed", item, self.problems, "seeds") for item in node.value]
        settings = [setting for setting in read if setting is not None]
        self.refuse_repeats("seeds", settings)
        return tuple(setting.value for setting in settings)

    def whole(self, label: str, node: Node | None, default: int, low: int, high: int) -> int:
        """A whole number within bounds."""
        if node is None:
            return default
        value = node.value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            message = f"found {node.shown()}; allowed: a whole number from {low} to {high}"
            self.problems.add(node.where, label, message)
            return default
        return value

    def resources(self) -> Resources:
        node = self.sections.get("resources")
        if node is None:
            return Resources()
        if not isinstance(node.value, dict):
            allowed = "a mapping of cpus, gpus, pack"
            self.problems.add(node.where, "resources", f"found {_empty(node)}; allowed: {allowed}")
            return Resources()
        known = ("cpus", "gpus", "pack")
        for key, value in node.value.items():
            if key not in known:
                message = f"unknown key{nearest(key, known)}; allowed: {', '.join(known)}"
                self.problems.add(value.where, f"resources.{key}", message)
        cpus = self.whole("resources.cpus", node.value.get("cpus"), 1, 1, 1024)
        return Resources(cpus, self.gpus(node.value.get("gpus")), self.pack(node.value.get("pack")))

    def gpus(self, node: Node | None) -> Literal["auto"] | float:
        if node is None or node.raw == "auto":
            return "auto"
        share = _share(node)
        if share is not None and share > 1:
            message = f"found {node.shown()}; one trial over several GPUs is not built yet"
            self.problems.add(node.where, "resources.gpus", f"{message}; allowed: at most 1")
        elif share is None:
            message = f"found {node.shown()}; allowed: auto, 0, 1, or 1/k such as 0.5 or 1/3"
            self.problems.add(node.where, "resources.gpus", message)
        return "auto" if share is None else share

    def pack(self, node: Node | None) -> Literal["auto", "off"] | int:
        if node is None or node.raw == "auto":
            return "auto"
        if node.raw in ("off", "false"):
            return "off"
        return self.whole("resources.pack", node, 1, 1, 1024)


def _empty(node: Node) -> str:
    return f"{node.shown()} that is empty" if node.value in ([], {}) else node.shown()


def _share(node: Node) -> float | None:
    """0, a whole number, or 1/k written as a decimal or as `1/k`; None where it is none of these.

    Other fractions make Ray place trials wrongly or wait forever.
    """
    if match := re.fullmatch(r"1/([1-9][0-9]{0,3})", node.raw):
        return 1 / int(match[1])
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    if float(value).is_integer():
        return float(value)
    parts = round(1 / value)
    return 1 / parts if value < 1 and parts <= 9999 and abs(1 / parts - value) < 5e-5 else None
