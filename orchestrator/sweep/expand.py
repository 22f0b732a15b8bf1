"""From a sweep file to its trials: axes × paired groups × sampled points × seeds, less `exclude`,
plus the points and grids of `include`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from orchestrator.sweep import sample_section, weights_file
from orchestrator.sweep.fields import CODE_SHA256, SCHEMAS, as_meant
from orchestrator.sweep.own_code import DescribedCode
from orchestrator.sweep.problems import Place, Problems
from orchestrator.sweep.recipes import RECIPES, recipe_fields
from orchestrator.sweep.sweep_file import AXES, SweepFile, columns_of, listed, own_axes
from orchestrator.sweep.yaml_text import Node
from trainer.data import layouts
from trainer.data_sets import DATA_SETS
from trainer.modes import RANDOM_K
from trainer.spec import TrialSpec, depth_problem

PAPER_K = 2
"""Random weights in each output channel that equal γ and β in number."""
MAX_TRIALS = 10_000
"""Planned within about a second; as many different networks take a few."""
MAX_LISTED = 1_000_000
"""Values in the lists of all trials: milestones are compared, hashed and shown for each."""
MAX_COMPARISONS = 10_000_000
"""Of trials with exclusions."""

_CAUSES = {
    "k": "trainable",
    "restart_epochs": "schedule",
    "milestones": "schedule",
    "lr_decay": "schedule",
    "data_id": "dataset",
    "classes": "dataset",
    "crop_scale": "dataset",
    "dataset": "model",
    "depth": "model",
    "warmup_epochs": "epochs",
}
"""Where a field is not written that others make wrong or needed: the field that does."""
_DEFAULTS: Mapping[str, Any] = dict(TrialSpec())


class Part(NamedTuple):
    """Values that a sweep file gives together, and where it does."""

    values: Mapping[str, Any]
    key: str
    node: Node
    row: int | None = None
    """Which values these are, of a mapping of fields to lists."""

    def place(self, name: str) -> Place:
        """Where the value of a field stands."""
        entry = self.node.entries[name]
        return (entry if self.row is None else entry.items[self.row]).place


Point = tuple[Part, ...]
"""What makes a configuration: the base first, a later part before an earlier one."""


def expand(
    file: SweepFile,
    root: Node,
    problems: Problems,
    *,
    code: DescribedCode | None = None,
    overridden: bool = False,
    data: Path | None = None,
) -> tuple[tuple[TrialSpec, ...], dict[str, Path]]:
    """The trials, and the files of pretrained weights that they begin with, by sha256.

    The order is stable: axes as in the file, then paired groups and sampled points, the last one
    fastest, the seeds inside; what `include` adds at the end.

    `root`: the nodes that the file was read from. `code`: what the file's `code` names.
    `overridden`: an exclusion may match nothing, since the values that it was meant for may have
    been replaced from the command line. `data`: where folders of images are, whose classes are
    counted where the file does not say how many.
    """
    grid = _grid_count(file)
    count = grid + sum(_further_counts(file))
    if count > MAX_TRIALS:
        key, node = (AXES, root) if grid > MAX_TRIALS else _largest_of_include(file, root)
        problems.add(
            node.place,
            key,
            f"found {count:,} trials (would anybody run them?)",
            f"at most {MAX_TRIALS:,}",
        )
        return (), {}
    longest = _longest_list(file)
    if count * longest > MAX_LISTED:
        message = f"found {count:,} trials with lists of up to {longest:,} values"
        problems.add(root.place, "axes", message, f"at most {MAX_LISTED // longest:,} with such")
        return (), {}
    if count * len(file.exclude) > MAX_COMPARISONS:
        message = f"found {len(file.exclude):,} exclusions for {count:,} trials"
        allowed = f"at most {MAX_COMPARISONS // count:,} for that many"
        problems.add(root.entry("exclude").place, "exclude", message, allowed)
        return (), {}
    sampled = _sampled(file, root, problems)
    expansion = _Expansion(file, root, problems, sampled, code, data)
    expansion.add_product()
    expansion.add_includes()
    if not overridden:
        expansion.refuse_idle_exclusions()
    if not expansion.trials and not problems.records:
        problems.add(root.place, "exclude", "drops every trial", "at least one is left")
    return tuple(expansion.trials), expansion.files


def check_depths(root: Node, problems: Problems) -> None:
    """Impossible depths of a file whose other mistakes keep it from being expanded.

    Only where one model is meant: the rest of the rules between fields needs whole points.
    """
    base = root.entry("base")
    others = [*listed(root, "include"), *own_axes(root), *columns_of(root)]
    model = _model(root, base)
    if model is None or any("model" in node.entries for _, node in others):
        return
    for key, node in [("base", base), *others]:
        depths = node.entry("depth")
        for item in depths.items or [depths]:
            depth = as_meant(item, SCHEMAS["depth"])
            if type(depth) is int and depth > 0 and (hint := depth_problem(model, depth)):
                problems.add(item.place, f"{key}.depth", hint)


def _model(root: Node, base: Node) -> str | None:
    """The model of the base, or the recipe's; None where it is itself a mistake."""
    recipe = root.entry("recipe").raw
    given = {key: as_meant(n, SCHEMAS[key]) for key, n in base.entries.items() if key == "model"}
    fields = recipe_fields(recipe if recipe in RECIPES else "", given)
    model = fields.get("model", _DEFAULTS["model"])
    return model if model in SCHEMAS["model"]["enum"] else None


def _grid_count(file: SweepFile) -> int:
    """Trials before exclusions, without those of `include`."""
    lengths = [len(values) for values in file.axes.values()]
    lengths += [len(next(iter(group.values()), ())) for group in file.paired]
    lengths += [file.sample.count] if file.sample else []
    return math.prod(lengths) * len(file.numbered_seeds)


def _further_counts(file: SweepFile) -> list[int]:
    """Trials of each entry of `include`."""
    return [
        math.prod(map(len, entry.axes.values()))
        * (1 if "seed" in entry.values else len(file.numbered_seeds))
        for entry in file.include
    ]


def _largest_of_include(file: SweepFile, root: Node) -> tuple[str, Node]:
    """The entry of `include` that makes most trials, with its key."""
    counts = _further_counts(file)
    return listed(root, "include")[counts.index(max(counts))]


def _longest_list(file: SweepFile) -> int:
    """Of the lists that are one value of a field."""
    values = [*file.base.values(), *(v for entry in file.include for v in entry.values.values())]
    for columns in (file.axes, *file.paired, *(entry.axes for entry in file.include)):
        values += [value for column in columns.values() for value in column]
    for choices in file.sample.of.values() if file.sample else ():
        values += choices if isinstance(choices, tuple) else ()
    return max((len(value) for value in values if isinstance(value, tuple)), default=0)


def _rows(columns: Mapping[str, Sequence[Any]], key: str, node: Node) -> list[Part]:
    """The points of fields that move together."""
    rows = enumerate(zip(*columns.values(), strict=True))
    return [Part(dict(zip(columns, row, strict=True)), key, node, index) for index, row in rows]


def _sampled(file: SweepFile, root: Node, problems: Problems) -> list[Part]:
    """The sampled points; a problem where too few differ."""
    if not file.sample:
        return []
    node, points = root.entry(sample_section.KEY), file.sample.points()
    if len(points) < file.sample.count:
        count = node.entry("count")
        allowed = f"at most {len(points):,}, as many as differ"
        problems.add(count.place, "sample.count", f"found {file.sample.count:,} points", allowed)
    return [Part(point, f"{sample_section.KEY}.of", node.entry("of")) for point in points]


@dataclass
class _Expansion:
    file: SweepFile
    root: Node
    problems: Problems
    sampled: list[Part]
    code: DescribedCode | None = None
    data: Path | None = None
    trials: dict[TrialSpec, Place] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    idle: set[int] = field(default_factory=set)
    """Numbers of the exclusions that have dropped nothing yet."""

    def __post_init__(self) -> None:
        self.idle = set(range(len(self.file.exclude)))
        self.exclusions = [
            {name: set(values) for name, values in columns.items()} for columns in self.file.exclude
        ]
        self.base = Part(self.file.base, "base", self.root.entry("base"))

    def points(self) -> Iterator[Point]:
        axes, *groups = columns_of(self.root)
        rows = [_rows({name: values}, *axes) for name, values in self.file.axes.items()]
        rows += [_rows(pair, *group) for pair, group in zip(self.file.paired, groups, strict=True)]
        rows += [self.sampled] if self.file.sample else []
        return product([self.base], *rows)

    def add_product(self) -> None:
        for point in self.points():
            fields = self.fields(point)
            seeds = self.kept_seeds(fields)
            if seeds:
                self.add(point, fields, seeds, self.root.place)

    def add_includes(self) -> None:
        places = zip(listed(self.root, "include"), own_axes(self.root), strict=True)
        for entry, ((key, node), axes) in zip(self.file.include, places, strict=True):
            rows = [_rows({name: values}, *axes) for name, values in entry.axes.items()]
            for point in product([self.base], [Part(entry.values, key, node)], *rows):
                fields = self.fields(point)
                seeds = [fields.pop("seed")] if "seed" in fields else list(self.file.numbered_seeds)
                self.add(point, fields, seeds, node.place)

    def fields(self, point: Point) -> dict[str, Any]:
        """The point's values on top of the recipe's; a file of weights becomes what it means."""
        own = {name: value for part in point for name, value in part.values.items()}
        if weights_file.KEY in own:
            path = own.pop(weights_file.KEY)
            own["weights_sha256"] = weights_file.sha256(path)
            own.setdefault("weights", "pretrained")
            self.files[own["weights_sha256"]] = path
        if self.code:
            own[CODE_SHA256] = self.code.code.sha256
        fields = recipe_fields(self.file.recipe, own)
        if (folder := self.uncounted(fields)) and (classes := layouts.class_count(folder)):
            fields["classes"] = classes
        return fields

    def uncounted(self, fields: Mapping[str, Any]) -> Path | None:
        """The folder of images whose classes the file leaves to be counted; None: there is none."""
        data_set, data_id = DATA_SETS.get(fields.get("dataset", "")), fields.get("data_id")
        if not (self.data and data_set and data_id) or fields.get("classes"):
            return None
        counted = data_set.storage == "folder" and not data_set.classes
        return self.data / data_id if counted and data_id not in (".", "..") else None

    def kept_seeds(self, fields: dict[str, Any]) -> list[int]:
        """The seeds of a configuration that no exclusion drops."""
        values = {**_DEFAULTS, **fields}
        matching = [
            (number, exclusion.get("seed"))
            for number, exclusion in enumerate(self.exclusions)
            if all(name == "seed" or values[name] in dropped for name, dropped in exclusion.items())
        ]
        kept = []
        for seed in self.file.numbered_seeds:
            hits = [number for number, seeds in matching if seeds is None or seed in seeds]
            self.idle.difference_update(hits)
            if not hits:
                kept.append(seed)
        return kept

    def add(self, point: Point, fields: dict[str, Any], seeds: list[int], place: Place) -> None:
        spec = self.validated(point, fields)
        if spec is None:
            return
        for seed in seeds:
            trial = spec.model_copy(update={"seed": seed})
            if trial in self.trials:
                message = f"{trial.trial_id} comes twice, first from {self.trials[trial]}"
                self.problems.add(place, "duplicate trial", message, "once")
            self.trials.setdefault(trial, place)

    def validated(self, point: Point, fields: dict[str, Any]) -> TrialSpec | None:
        try:
            spec = TrialSpec.model_validate(fields)
            broken = list(self.code.problems(spec)) if self.code else []
        except ValidationError as error:
            spec, broken = None, list(_rules_broken(error))
        for name, message in broken:
            if name == "k" and (pair := self.pair_of_modes(fields)):
                message = f"random_k needs k, other modes take none; {pair}"
            elif name == "classes" and (folder := self.uncounted(fields)):
                message += (
                    f"; {folder / layouts.TRAIN} has no folders of classes to count: write how "
                    "many it has (classes: 10), or name the data folder (BNSWEEP_DATA, --data)"
                )
            given, cause = _giver(point, name), _giver(point, _CAUSES.get(name, ""))
            if given:
                self.problems.add(given.place(name), f"{given.key}.{name}", message)
            elif cause:
                self.problems.add(cause.place(_CAUSES[name]), name, message)
            else:
                self.problems.add(self.root.entry("recipe").place, name, message)
        return None if broken else spec

    def pair_of_modes(self, fields: dict[str, Any]) -> str:
        """What to write where random_k and other modes are values of one axis, and k of none or
        of all of them; else empty."""
        modes = self.file.axes.get("trainable", ())
        is_random = fields.get("trainable") == RANDOM_K
        if RANDOM_K not in modes or len(modes) == 1 or is_random == bool(fields.get("k")):
            return ""
        given = self.file.axes.get("k", (self.file.base.get("k"),))
        numbers = [k for k in given if k] or [PAPER_K]
        others = [mode for mode in modes if mode != RANDOM_K]
        trainable = ", ".join([*others, *([RANDOM_K] * len(numbers))])
        ks = ", ".join(map(str, [*([0] * len(others)), *numbers]))
        return (
            "take trainable and k out of axes and base, and write under paired: "
            f"- {{trainable: [{trainable}], k: [{ks}]}}"
        )

    def refuse_idle_exclusions(self) -> None:
        for number in sorted(self.idle):
            node = self.root.entry("exclude").items[number]
            first = next(iter(node.entries.values()))
            message, allowed = "matches no combination", "values that the sweep has"
            self.problems.add(first.place, f"exclude[{number}]", message, allowed)


def _giver(point: Point, name: str) -> Part | None:
    """The part that gives a configuration its value of a field."""
    return next((part for part in reversed(point) if name in part.values), None)


def _rules_broken(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Field and message of each rule between fields that a trial breaks."""
    for item in error.errors(include_url=False):
        yield from item["ctx"]["error"].problems
