"""From a sweep file's sections to its trials: axes × paired groups × seeds, less `exclude`, plus
`include`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from pydantic import ValidationError

from orchestrator.sweep import weights_file
from orchestrator.sweep.recipes import recipe_fields
from orchestrator.sweep.sections import Draft, Fields
from orchestrator.sweep.yaml_text import Problems
from trainer.spec import TrialSpec, depth_problem

MAX_TRIALS = 100_000

_CAUSES = {
    "k": "trainable",
    "restart_epochs": "schedule",
    "milestones": "schedule",
    "lr_decay": "schedule",
    "data_id": "dataset",
    "classes": "dataset",
    "dataset": "model",
    "depth": "model",
    "warmup_epochs": "epochs",
}
"""Where a field is not written that others make wrong or needed: the field that does."""
_DEFAULTS: Mapping[str, Any] = dict(TrialSpec())


def expand(
    draft: Draft, where: str, problems: Problems, *, overridden: bool = False
) -> tuple[TrialSpec, ...]:
    """The trials in a stable order: axes as in the file, then paired groups, the last one fastest,
    the seeds inside; further points at the end.

    `overridden`: an exclusion may match nothing, since the values that it was meant for may have
    been replaced from the command line.
    """
    count = _count(draft)
    if count > MAX_TRIALS:
        problems.add(where, "axes", f"found {count:,} trials; allowed: at most {MAX_TRIALS:,}")
        return ()
    expansion = _Expansion(draft, problems)
    expansion.add_product(where)
    expansion.add_includes()
    if not overridden:
        expansion.refuse_idle_exclusions()
    if not expansion.trials and not problems.lines:
        problems.add(where, "exclude", "drops every trial; allowed: at least one is left")
    return tuple(expansion.trials)


def check_depths(draft: Draft, problems: Problems) -> None:
    """Impossible depths of a file whose other mistakes keep it from being expanded.

    Only where one model is meant: the rest of the rules between fields needs whole points.
    """
    columns = [draft.axes, *draft.paired, *({k: [v] for k, v in p.items()} for p in draft.include)]
    settings = [draft.base.get("depth"), *(s for c in columns for s in c.get("depth", ()))]
    if any("model" in column for column in columns) or any(
        "model:" in line for line in problems.lines
    ):
        return
    given = {"model": draft.base["model"].value} if "model" in draft.base else {}
    model = recipe_fields(draft.recipe, given).get("model", _DEFAULTS["model"])
    for setting in settings:
        hint = depth_problem(model, setting.value) if setting else ""
        if setting and hint:
            problems.add(setting.where, setting.label, hint)


def _count(draft: Draft) -> int:
    """Trials before exclusions."""
    lengths = [len(values) for values in draft.axes.values()]
    lengths += [len(next(iter(group.values()), ())) for group in draft.paired]
    points = math.prod(lengths) + len(draft.include)
    return points * len(draft.seeds)


def _points(draft: Draft) -> Iterator[Fields]:
    """The combinations, each on top of the base."""
    axes = [[{name: value} for value in values] for name, values in draft.axes.items()]
    paired = [
        [dict(zip(group, row, strict=True)) for row in zip(*group.values(), strict=True)]
        for group in draft.paired
    ]
    for parts in product(*axes, *paired):
        point = dict(draft.base)
        for part in parts:
            point.update(part)
        yield point


@dataclass
class _Expansion:
    draft: Draft
    problems: Problems
    trials: dict[TrialSpec, str] = field(default_factory=dict)
    idle: set[int] = field(default_factory=set)
    """Numbers of the exclusions that have dropped nothing yet."""

    def __post_init__(self) -> None:
        self.idle = set(range(len(self.draft.exclude)))
        self.exclusions = [
            {name: {setting.value for setting in values} for name, values in columns.items()}
            for columns in self.draft.exclude
        ]

    def add_product(self, where: str) -> None:
        for point in _points(self.draft):
            fields = self.fields(point)
            seeds = [seed for seed in self.draft.seeds if not self.excluded(fields, seed)]
            if seeds:
                self.add(point, fields, seeds, where)

    def add_includes(self) -> None:
        for extra, where in zip(self.draft.include, self.draft.include_where, strict=True):
            point = {**self.draft.base, **extra}
            seed = point.pop("seed", None)
            fields = self.fields(point)
            self.add(point, fields, [seed.value] if seed else list(self.draft.seeds), where)

    def fields(self, point: Fields) -> dict[str, Any]:
        """The point's values on top of the recipe's; a file of weights becomes what it means."""
        own = {name: setting.value for name, setting in point.items()}
        if weights_file.KEY in own:
            own["weights_sha256"] = own.pop(weights_file.KEY)
            own.setdefault("weights", "pretrained")
        return recipe_fields(self.draft.recipe, own)

    def excluded(self, fields: dict[str, Any], seed: int) -> bool:
        hit = False
        for number, exclusion in enumerate(self.exclusions):
            if all(
                (seed if name == "seed" else fields.get(name, _DEFAULTS[name])) in values
                for name, values in exclusion.items()
            ):
                self.idle.discard(number)
                hit = True
        return hit

    def add(self, point: Fields, fields: dict[str, Any], seeds: list[int], where: str) -> None:
        spec = self.validated(point, fields)
        if spec is None:
            return
        for seed in seeds:
            trial = spec.model_copy(update={"seed": seed})
            if trial in self.trials:
                first = self.trials[trial]
                message = f"{trial.trial_id} comes twice, first from {first}; allowed: once"
                self.problems.add(where, "duplicate trial", message)
            self.trials.setdefault(trial, where)

    def validated(self, point: Fields, fields: dict[str, Any]) -> TrialSpec | None:
        try:
            return TrialSpec.model_validate(fields)
        except ValidationError as error:
            for line in _cross_field_lines(error):
                name, message = line.split(": ", 1)
                given = point.get(name)
                cause = given or point.get(_CAUSES.get(name, ""))
                where = cause.where if cause else self.draft.recipe_where
                self.problems.add(where, given.label if given else name, message)
            return None

    def refuse_idle_exclusions(self) -> None:
        for number in sorted(self.idle):
            settings = next(iter(self.draft.exclude[number].values()))
            label = f"exclude[{number}]"
            message = "matches no combination; allowed: values that the sweep has"
            self.problems.add(settings[0].where, label, message)


def _cross_field_lines(error: ValidationError) -> list[str]:
    return [line for item in error.errors() for line in str(item["ctx"]["error"]).splitlines()]
