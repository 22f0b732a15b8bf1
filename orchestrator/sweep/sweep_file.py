"""The sweep file as a model: what each key may hold, each value by itself.

Its validators read the nodes of the YAML text, and refuse with what becomes a `Problem`. The JSON
schema for editors is generated from it; `expand` makes trials of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)

from orchestrator.sweep import sample_section
from orchestrator.sweep.fields import (
    CODE_SHA256,
    SCHEMAS,
    Surroundings,
    as_meant,
    reading,
    refusal,
    typed,
    whole,
)
from orchestrator.sweep.other_names import ours
from orchestrator.sweep.problems import Problems
from orchestrator.sweep.recipes import RECIPES
from orchestrator.sweep.resources import Resources
from orchestrator.sweep.sample import Sample
from orchestrator.sweep.sections import STRICT, SWEPT, VALUES, either, one, section, several
from orchestrator.sweep.yaml_text import Node

AXES = "axes"
NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,63}"
MAX_RETRIES = 100
MAX_SEEDS = 10**9
RESOURCES = tuple(field.name for field in fields(Resources))

_NAME_RULE = "a-z, 0-9, _ and -, beginning with a letter or digit, at most 64"


def _mappings(node: Node) -> tuple[Node, ...]:
    if node.value is not None and not isinstance(node.value, list):
        raise refusal(f"found {node.shown()}", "a list of mappings")
    return tuple(node.items)


def _resources(node: Node) -> dict[str, Node]:
    if not isinstance(node.value, dict):
        raise refusal(f"found {node.shown()}", f"a mapping of {', '.join(RESOURCES)}")
    return node.value


_TO_VALUES, _TO_LISTS = "a mapping of fields to values", "a mapping of fields to lists"
_BASE = section("base", {name: one(name) for name in SWEPT}, _TO_VALUES, least=0)
_AXES = section("axes", {name: several(name) for name in SWEPT}, _TO_LISTS)
_POINT = section(
    "point", {**{name: one(name) for name in VALUES}, AXES: Annotated[Any, _AXES]}, _TO_VALUES
)
_PAIR = section("pair", {name: several(name) for name in SWEPT}, f"{_TO_LISTS} of equal lengths")
_EXCLUSION = section(
    "exclusion",
    {name: either(name) for name in SCHEMAS},
    "a mapping of fields to a value or a list of values",
)
_SEEDS: Any = Annotated[
    Annotated[whole(1, MAX_SEEDS), Tag("count")] | Annotated[several("seed"), Tag("list")],
    Discriminator(lambda node: "list" if isinstance(node.value, list) else "count"),
]
_TEXT = {"type": "text"}
_RECIPE: Any = Annotated[Literal[tuple(RECIPES)], reading({"enum": list(RECIPES)})]
_LIST = BeforeValidator(_mappings)

Values = dict[str, Any]
Columns = dict[str, tuple[Any, ...]]


class Further(NamedTuple):
    """An entry of `include`: a point, or with axes of its own a grid."""

    values: Values
    axes: Columns


def _further(entry: dict[str, Any]) -> Further:
    values = {name: value for name, value in entry.items() if name != AXES}
    return Further(values, entry.get(AXES, {}))


class SweepFile(BaseModel):
    """What a sweep file says, not yet expanded."""

    model_config = ConfigDict(**STRICT, title="bnsweep sweep file")

    name: Annotated[str, Field(pattern=f"^{NAME_PATTERN}$"), reading(_TEXT, _NAME_RULE)]
    description: Annotated[str, reading(_TEXT, "text")] = ""
    recipe: Annotated[str, typed(_RECIPE)] = ""
    code: Annotated[str, reading(_TEXT, "the path of a .py file or of a package's folder")] = ""
    """Relative to the sweep file."""
    base: Annotated[Values, _BASE] = {}
    axes: Annotated[Columns, _AXES] = {}
    paired: Annotated[tuple[Annotated[Columns, _PAIR], ...], _LIST] = ()
    sample: Annotated[Sample | None, sample_section.SAMPLE] = None
    exclude: Annotated[tuple[Annotated[Columns, _EXCLUSION], ...], _LIST] = ()
    include: Annotated[tuple[Annotated[Further, _POINT, AfterValidator(_further)], ...], _LIST] = ()
    seeds: Annotated[int | tuple[int, ...], typed(_SEEDS)] = 1
    """How many from 0, or which."""
    resources: Annotated[Resources, BeforeValidator(_resources)] = Resources()
    retries: Annotated[int, typed(whole(0, MAX_RETRIES))] = 2

    @property
    def numbered_seeds(self) -> Sequence[int]:
        """The seeds, where they are counted too."""
        return range(self.seeds) if isinstance(self.seeds, int) else self.seeds


KEYS = tuple(SweepFile.model_fields)
"""What a sweep file may hold, in the order of the documentation."""


# -- reading -----------------------------------------------------------------------------------


def read(root: Node, around: Surroundings, problems: Problems) -> SweepFile | None:
    """The file's contents, each value checked by itself; None where pydantic refuses one."""
    if not isinstance(root.value, dict):
        if not problems.records:
            problems.add(root.place, "", f"found {root.shown()}", "a mapping with name and axes")
        return None
    file, mistakes = None, []
    try:
        file = SweepFile.model_validate(root.value, context=around)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
    for mistake in sorted(mistakes, key=lambda mistake: mistake["type"] not in _UNKNOWN):
        _report(mistake, root, problems)
    _check_columns(root, {id(mistake["input"]) for mistake in mistakes}, problems)
    return file


_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def _report(mistake: Any, root: Node, problems: Problems) -> None:
    """Adds the problem of one of pydantic's errors, which has the node as its input."""
    *above, name = mistake["loc"]
    key, node = _key(mistake["loc"]), mistake["input"]
    if mistake["type"] == "refused":
        problems.add(node.place, key, *mistake["ctx"]["parts"], **mistake["ctx"]["hint"])
    elif mistake["type"] == "missing":
        problems.add(root.place, key, "missing", _NAME_RULE)
    elif mistake["type"] in _UNKNOWN and above and name == "seed":
        problems.add(node.place, key, "not here", "seeds, at the top")
    elif mistake["type"] in _UNKNOWN and above and name == CODE_SHA256:
        problems.add(node.place, key, "not here", "code: PATH, at the top")
    elif mistake["type"] in _UNKNOWN:
        choices = _choices(above)
        message = "unknown field" if choices[0] in SCHEMAS else "unknown key"
        if not above and (field := ours(str(name))) in VALUES:
            message += f"; {field} is a field of a trial: put it under base or axes"
            name = ""
        hint = {"word": name, "choices": choices, "hint_first": True}
        problems.add(node.place, key, message, ", ".join(choices), **hint)


def _choices(above: Sequence[int | str]) -> tuple[str, ...]:
    """What may stand in a section, which is named by the keys above."""
    if not above:
        return KEYS
    if above[0] == sample_section.KEY:
        return sample_section.choices(tuple(above))
    if above[0] == "include" and AXES not in above:
        return (*VALUES, AXES)
    sections = {"resources": RESOURCES, "exclude": tuple(SCHEMAS)}
    return sections.get(str(above[0]), tuple(VALUES))


def _key(loc: Sequence[int | str]) -> str:
    """`axes.depth`, `paired[0].lr` or `include[0].axes.lr`: no place in a list of values."""
    section, *inner = loc
    if section == sample_section.KEY:
        return sample_section.key_of(tuple(loc))
    if section in ("paired", "exclude", "include") and inner:
        section = f"{section}[{inner.pop(0)}]"
    depth = 2 if inner[:1] == [AXES] else 1
    return ".".join(map(str, [section, *inner[:depth]])) if section != "seeds" else section


def listed(root: Node, section: str) -> list[tuple[str, Node]]:
    """The entries of a list of mappings, each with its key: `include[0]`."""
    items = root.entry(section).items
    return [(f"{section}[{index}]", node) for index, node in enumerate(items)]


def columns_of(root: Node) -> list[tuple[str, Node]]:
    """The axes and the paired groups: mappings of fields to lists, each with its key."""
    return [(AXES, root.entry(AXES)), *listed(root, "paired")]


def own_axes(root: Node) -> list[tuple[str, Node]]:
    """The axes of each entry of `include`, each with its key: `include[0].axes`."""
    return [(f"{key}.{AXES}", node.entry(AXES)) for key, node in listed(root, "include")]


def _check_columns(root: Node, refused: set[int], problems: Problems) -> None:
    """No field in two axes, groups or the sample, or twice in an entry of `include`, no value twice
    in an axis, groups of equal lengths."""
    swept: set[str] = set()
    for key, group in columns_of(root):
        columns = {name: node.items for name, node in group.entries.items() if name in SWEPT}
        for name, items in columns.items():
            if name in swept and items:
                allowed = "once, under axes or paired"
                problems.add(items[0].place, f"{key}.{name}", "is swept twice", allowed)
            if key == AXES:
                _refuse_repeats(name, items, f"axes.{name}", refused, problems)
        swept.update(columns)
        if key != AXES and len({len(items) for items in columns.values() if items}) > 1:
            lengths = ", ".join(f"{name} with {len(items)}" for name, items in columns.items())
            problems.add(group.place, key, f"found {lengths}", "lists of equal lengths")
    for name, node in root.entry(sample_section.KEY).entry("of").entries.items():
        key = f"{sample_section.KEY}.of.{name}"
        if name in swept:
            problems.add(node.place, key, "is swept twice", "once, under axes, paired or sample")
        _refuse_repeats(name, node.items, key, refused, problems)
    entries = [node.entries for _, node in listed(root, "include")]
    for (key, axes), beside in zip(own_axes(root), entries, strict=True):
        for name, node in axes.entries.items():
            if name in beside:
                allowed = "once, beside these axes or under them"
                problems.add(node.place, f"{key}.{name}", "is given twice", allowed)
            _refuse_repeats(name, node.items, f"{key}.{name}", refused, problems)
    _refuse_repeats("seed", root.entry("seeds").items, "seeds", refused, problems)


def _refuse_repeats(
    name: str, items: Sequence[Node], key: str, refused: set[int], problems: Problems
) -> None:
    seen = set()
    for item in items:
        value = as_meant(item, SCHEMAS.get(name, {}))
        if value in seen and id(item) not in refused:
            problems.add(item.place, key, f"found {value} twice", "each value once")
        seen.add(value)
