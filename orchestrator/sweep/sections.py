"""Reads the sections of a sweep file, each value by itself; `expand` makes trials of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.sweep import weights_file
from orchestrator.sweep.fields import SCHEMAS, Setting, nearest, read_field
from orchestrator.sweep.recipes import RECIPES
from orchestrator.sweep.resources import Resources, read_resources, read_whole
from orchestrator.sweep.yaml_text import Node, Problems

NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,63}"
MAX_RETRIES = 100
MAX_SEEDS = 10**9

Fields = dict[str, Setting]
Columns = dict[str, list[Setting]]


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
    include_where: list[str] = field(default_factory=list)
    seeds: Sequence[int] = (0,)
    resources: Resources = field(default_factory=Resources)
    retries: int = 2
    files: dict[str, Path] = field(default_factory=dict)
    """sha256 → absolute path of the files of pretrained weights that the sweep names."""


KEYS = (
    "name",
    "description",
    "recipe",
    "base",
    "axes",
    "paired",
    "exclude",
    "include",
    "seeds",
    "resources",
    "retries",
)
"""What a sweep file may hold, in the order of the documentation."""


def read_sections(root: Node, folder: Path, problems: Problems) -> Draft:
    """All sections of a sweep file; what is wrong goes to `problems`.

    `folder`: what files named in it are relative to.
    """
    if not isinstance(root.value, dict):
        problems.add(root.where, "", f"found {root.shown()}; allowed: a mapping with name and axes")
        return Draft()
    for key, node in root.value.items():
        if key not in KEYS:
            near = _belongs_in_base(key) or nearest(key, KEYS)
            problems.add(node.where, key, f"unknown key{near}; allowed: {', '.join(KEYS)}")
    return _Reader(root, root.value, folder, problems).read()


def _belongs_in_base(key: str) -> str:
    return f"; {key} is a field of a trial: put it under base or axes" if key in SCHEMAS else ""


@dataclass
class _Reader:
    root: Node
    sections: Mapping[str, Node]
    folder: Path
    problems: Problems
    files: dict[str, Path] = field(default_factory=dict)

    def read(self) -> Draft:
        recipe, retries = self.sections.get("recipe"), self.sections.get("retries")
        include = self.items("include")
        draft = Draft(
            name=self.name(),
            description=self.text("description"),
            recipe=self.recipe(),
            recipe_where=recipe.where if recipe else self.root.where,
            base=self.fields("base", self.sections.get("base")),
            axes=self.columns("axes", self.sections.get("axes"), "a mapping of fields to lists"),
            paired=[self.group(label, node) for label, node in self.items("paired")],
            exclude=[self.exclusion(label, node) for label, node in self.items("exclude")],
            include=[self.fields(label, node, seed=True) for label, node in include],
            include_where=[node.where for _, node in include],
            seeds=self.seeds(),
            resources=read_resources(self.sections.get("resources"), self.problems),
            retries=read_whole(retries, "retries", self.problems, 2, 0, MAX_RETRIES),
            files=self.files,
        )
        self.refuse_swept_twice(draft)
        return draft

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
            hint = f"allowed: {', '.join(RECIPES)}{nearest(node.raw, RECIPES)}"
            self.problems.add(node.where, "recipe", f"found {node.shown()}; {hint}")
            return ""
        return node.value

    def items(self, key: str) -> list[tuple[str, Node]]:
        """The entries of a list of mappings, each with its name for messages."""
        node = self.sections.get(key)
        if node is None or node.value is None:
            return []
        if not isinstance(node.value, list):
            message = f"found {node.shown()}; allowed: a list of mappings"
            self.problems.add(node.where, key, message)
            return []
        return [(f"{key}[{index}]", item) for index, item in enumerate(node.value)]

    def entries(self, label: str, node: Node, what: str, *, seed: bool = False) -> dict[str, Node]:
        """A mapping's entries whose keys are fields of a trial."""
        if not isinstance(node.value, dict) or not node.value:
            found = "an empty mapping" if node.value == {} else node.shown()
            self.problems.add(node.where, label, f"found {found}; allowed: {what}")
            return {}
        known = {}
        for key, value in node.value.items():
            name = f"{label}.{key}"
            if key == "seed" and not seed:
                self.problems.add(value.where, name, "not here; allowed: seeds, at the top")
            elif key not in SCHEMAS and (key != weights_file.KEY or label.startswith("exclude")):
                message = f"unknown field{nearest(key, SCHEMAS)}; allowed: {', '.join(SCHEMAS)}"
                self.problems.add(value.where, name, message)
            else:
                known[key] = value
        return known

    def fields(self, label: str, node: Node | None, *, seed: bool = False) -> Fields:
        """A mapping of fields to one value each."""
        if node is None or (label == "base" and node.value in (None, {})):
            return {}
        read: Fields = {}
        what = "a mapping of fields to values"
        for key, value in self.entries(label, node, what, seed=seed).items():
            if isinstance(value.value, list) and SCHEMAS.get(key, {}).get("type") != "array":
                message = "found a list; allowed: one value (several: under axes)"
                self.problems.add(value.where, f"{label}.{key}", message)
                continue
            setting = self.setting(key, value, f"{label}.{key}")
            if setting is not None:
                read[key] = setting
        return read

    def setting(self, key: str, node: Node, label: str) -> Setting | None:
        """One field's value; a file of weights becomes its sha256."""
        if key != weights_file.KEY:
            return read_field(key, node, self.problems, label)
        located = weights_file.locate(node, label, self.folder, self.problems)
        if located is None:
            return None
        self.files[located[0]] = located[1]
        return Setting(located[0], node.where, label)

    def columns(self, label: str, node: Node | None, what: str) -> Columns:
        """A mapping of fields to lists of values."""
        if node is None:
            return {}
        return {
            key: self.values(key, value, f"{label}.{key}")
            for key, value in self.entries(label, node, what).items()
        }

    def values(self, key: str, node: Node, label: str) -> list[Setting]:
        if not isinstance(node.value, list) or not node.value:
            found = "an empty list" if node.value == [] else node.shown()
            message = f"found {found}; allowed: a list with at least one value"
            self.problems.add(node.where, label, message)
            return []
        read = [self.setting(key, item, label) for item in node.value]
        return [setting for setting in read if setting is not None]

    def group(self, label: str, node: Node) -> Columns:
        """Fields that move together: lists of equal lengths."""
        columns = self.columns(label, node, "a mapping of fields to lists of equal lengths")
        lists = node.value.values() if isinstance(node.value, dict) else ()
        lengths = {len(entry.value) for entry in lists if isinstance(entry.value, list)}
        if len(lengths) > 1:
            found = ", ".join(f"{key} with {len(values)}" for key, values in columns.items())
            self.problems.add(node.where, label, f"found {found}; allowed: lists of equal lengths")
        return columns

    def exclusion(self, label: str, node: Node) -> Columns:
        """Fields to one value or a list of any of its values."""
        what = "a mapping of fields to a value or a list of values"
        read: Columns = {}
        for key, value in self.entries(label, node, what, seed=True).items():
            many = isinstance(value.value, list) and not _is_one_list(key, value)
            listed = value if many else Node([value], value.where)
            read[key] = self.values(key, listed, f"{label}.{key}")
        return read

    def seeds(self) -> Sequence[int]:
        node = self.sections.get("seeds")
        if node is None:
            return (0,)
        if not isinstance(node.value, list):
            return range(read_whole(node, "seeds", self.problems, 1, 1, MAX_SEEDS))
        settings = self.values("seed", node, "seeds")
        self.refuse_repeats(settings)
        return tuple(setting.value for setting in settings)

    def refuse_repeats(self, settings: list[Setting]) -> None:
        seen = set()
        for value, where, label in settings:
            if value in seen:
                self.problems.add(where, label, f"found {value} twice; allowed: each value once")
            seen.add(value)

    def refuse_swept_twice(self, draft: Draft) -> None:
        """No field in two axes or paired groups; no value twice in an axis."""
        swept: set[str] = set()
        for columns in (draft.axes, *draft.paired):
            for key, settings in columns.items():
                if key in swept and settings:
                    message = "is swept twice; allowed: once, under axes or paired"
                    self.problems.add(settings[0].where, settings[0].label, message)
                swept.add(key)
        for settings in draft.axes.values():
            self.refuse_repeats(settings)


def _is_one_list(key: str, node: Node) -> bool:
    """Whether a list is one value of a field that takes lists, not several values."""
    items = node.value if isinstance(node.value, list) else []
    return SCHEMAS[key].get("type") == "array" and not any(
        isinstance(item.value, list) for item in items
    )
