"""From a sweep file's sections to its trials: the product of the axes, times the seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

from pydantic import ValidationError

from orchestrator.recipes import recipe_fields
from orchestrator.sections import Draft, Fields
from orchestrator.yaml_text import Problems
from trainer.spec import TrialSpec

MAX_TRIALS = 100_000


def expand(draft: Draft, where: str, problems: Problems) -> tuple[TrialSpec, ...]:
    """The trials in a stable order: axes as in the file, the last one fastest, then the seeds."""
    count = math.prod(len(values) for values in draft.axes.values()) * len(draft.seeds)
    if count > MAX_TRIALS:
        problems.add(where, "axes", f"found {count:,} trials; allowed: at most {MAX_TRIALS:,}")
        return ()
    trials: dict[TrialSpec, str] = {}
    for point in _points(draft):
        spec = _validated(draft, point, problems)
        if spec is None:
            continue
        for seed in draft.seeds:
            trials[spec.model_copy(update={"seed": seed})] = where
    return tuple(trials)


def _points(draft: Draft) -> Iterator[Fields]:
    for values in product(*draft.axes.values()):
        yield {**draft.base, **dict(zip(draft.axes, values, strict=True))}


def _validated(draft: Draft, point: Fields, problems: Problems) -> TrialSpec | None:
    own = {name: setting.value for name, setting in point.items()}
    try:
        return TrialSpec.model_validate(recipe_fields(draft.recipe, own))
    except ValidationError as error:
        for line in _cross_field_lines(error):
            name, message = line.split(": ", 1)
            given = point.get(name)
            where, label = given[1:] if given else (draft.recipe_where, name)
            problems.add(where, label, message)
        return None


def _cross_field_lines(error: ValidationError) -> list[str]:
    return [line for item in error.errors() for line in str(item["ctx"]["error"]).splitlines()]
