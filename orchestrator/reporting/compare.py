"""Two or more configurations or sweeps side by side, paired by seed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from types import MappingProxyType
from typing import Any

from orchestrator.errors import UserError
from orchestrator.reporting.best import Choice, choose
from orchestrator.reporting.replicates import (
    ACCURACY,
    Replicates,
    device,
    gather,
    origin,
    paired_values,
    varied,
)
from orchestrator.reporting.statistics import Estimate, estimate
from orchestrator.reporting.tables import Table, csv_text, value_of, with_interval
from orchestrator.store import lookup
from orchestrator.store.records import stands_for
from orchestrator.store.store import Store
from trainer.results import Result
from trainer.spec import TrialSpec

SMALL = 10.0
MOST_IN_TITLE = 2
"""Fields."""


@dataclass(frozen=True)
class Side:
    """What one name stands for: a sweep's finished configurations, or one configuration."""

    name: str
    groups: tuple[Replicates, ...]
    configuration: bool = False
    """Whether it is one configuration, whose name is an id that tells a reader little."""
    choice: Choice | None = None
    """What made these configurations its best; None: they are all."""


@dataclass(frozen=True)
class ComparedPoint:
    """One point of the axes, on every side."""

    point: dict[str, str]
    """The axes' values that the sides share here; empty where each side is one configuration."""
    estimates: tuple[Estimate | None, ...]
    """Of each side; None where the side has nothing finished here."""
    differences: tuple[Estimate | None, ...]
    """Of each side but the first: it − the first, over the seeds that both have."""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Rows of a metric by side."""

    metric: str
    sides: tuple[str, ...]
    rows: tuple[ComparedPoint, ...]
    titles: tuple[str, ...]
    """Of the sides, for people."""
    differs: dict[str, tuple[str, ...]]
    """Fields that each side has one value of, not all the same: the values, by side."""
    choices: tuple[Choice, ...] = ()
    """Of the sides, where their best configurations are compared."""

    def table(self) -> Table:
        """For people: means with 95 % intervals and differences to the first side."""
        axes = list(self.rows[0].point) if self.rows else []
        two = len(self.sides) == 2  # names are long
        against = ["second − first" if two else f"{t} − {self.titles[0]}" for t in self.titles[1:]]
        decimals = self._decimals()
        body = [
            [
                *row.point.values(),
                *(_cell(estimate, decimals) for estimate in row.estimates),
                *(_cell(estimate, decimals, signed=True) for estimate in row.differences),
            ]
            for row in self.rows
        ]
        notes = [f"{name}: {' against '.join(values)}" for name, values in self.differs.items()]
        for name, choice in zip(self.sides, self.choices, strict=bool(self.choices)):
            notes += [f"{name}: {line}" for line in (*_chosen(choice), *choice.notes)]
        notes += dict.fromkeys(flag for row in self.rows for flag in row.flags)
        title = f"{self.metric}: mean ± half of the 95 % interval (n); differences paired by seed"
        return Table(title, [*axes, *self.titles, *against], body, notes)

    def _decimals(self) -> int:
        """One of percentages; three of what is smaller, as losses are."""
        if "accuracy" in self.metric:
            return 1
        means = (abs(e.mean) for row in self.rows for e in row.estimates if e)
        return 1 if max(means, default=100.0) >= SMALL else 3

    def to_json(self) -> dict[str, Any]:
        """Plain data: every number, unrounded; `chosen` has each side's best, if these are
        compared."""
        return {
            "metric": self.metric,
            "sides": list(self.sides),
            "differs": {name: list(values) for name, values in self.differs.items()},
            "chosen": [choice.to_json()["best"] for choice in self.choices],
            "rows": [
                {
                    "point": row.point,
                    "estimates": [_numbers(estimate) for estimate in row.estimates],
                    "differences": [_numbers(estimate) for estimate in row.differences],
                    "flags": list(row.flags),
                }
                for row in self.rows
            ],
        }

    def to_csv(self) -> str:
        """A line for each point and side."""
        axes = list(self.rows[0].point) if self.rows else []
        numbers = list(_numbers(None))
        lines = []
        for row in self.rows:
            for name, value, difference in zip(
                self.sides, row.estimates, (None, *row.differences), strict=True
            ):
                cells = [*_numbers(value).values(), *_numbers(difference).values()]
                flags = "; ".join(row.flags)
                lines.append([*row.point.values(), name, self.metric, *cells, flags])
        differences = (f"difference_{name}" for name in numbers)
        return csv_text([*axes, "side", "metric", *numbers, *differences, "flags"], lines)


def compare(
    store: Store,
    names: Sequence[str],
    metric: str = ACCURACY,
    where: Mapping[str, Collection[str]] = MappingProxyType({}),
    *,
    best: bool = False,
    on_test_images: bool = False,
) -> Comparison:
    """Sides named by sweep (`depth`), a mode of it (`depth:bn_only`), or the beginning of a
    configuration's id or of the id's hash; a trial's stands for its configuration.

    `where`: only configurations that have one of these values of each field. `best`: of each sweep
    only the best configuration of each freezing mode, by the mean validation accuracy over its
    seeds, or the test accuracy with `on_test_images`. Raises UserError.
    """
    if len(names) < 2:
        raise UserError("compare: needs two or more names of sweeps or configurations")
    if best:
        sides = [_best_side(store, name, where, on_test_images=on_test_images) for name in names]
    else:
        sides = [_only(_side(store, name), where) for name in names]
    known = {m for side in sides for g in side.groups for r in g.results for m in r.metrics}
    if metric not in known:
        raise UserError(f"--metric {metric}: no result has it; allowed: {', '.join(sorted(known))}")
    return side_by_side(sides, metric)


def _only(side: Side, where: Mapping[str, Collection[str]]) -> Side:
    kept = tuple(group for group in side.groups if _has(group.spec, where))
    if not kept:
        raise UserError(f"{side.name}: no finished configuration has {_asked(where)}")
    return replace(side, groups=kept)


def _has(spec: TrialSpec, where: Mapping[str, Collection[str]]) -> bool:
    return all(value_of(spec, name) in values for name, values in where.items())


def _asked(where: Mapping[str, Collection[str]]) -> str:
    return " ".join(f"{name}={value}" for name, values in where.items() for value in values)


def _best_side(
    store: Store, name: str, where: Mapping[str, Collection[str]], *, on_test_images: bool
) -> Side:
    specs = [spec for spec in _specs(store, name) if _has(spec, where)]
    if not specs:
        raise UserError(f"{name}: no configuration has {_asked(where)}")
    sweep, _, _ = name.partition(":")
    choice = choose(store, sweep, on_test_images=on_test_images, among=specs)
    return Side(name, tuple(each.group for each in choice.best), choice=choice)


def _chosen(choice: Choice) -> Iterable[str]:
    """What a side's best configurations are, a line each."""
    for each in choice.best:
        values = (f"{name} {value_of(each.group.spec, name)}" for name in choice.others)
        what = ", ".join(values) or each.group.config_id
        yield f"{each.group.spec.mode}: {what}: the best of {each.of}"


def side_by_side(sides: Sequence[Side], metric: str = ACCURACY) -> Comparison:
    """Match the sides' configurations by the axes that vary within a side."""
    # What differs between the sides alone is what is compared.
    axes = list(dict.fromkeys(a for side in sides for a in varied([g.spec for g in side.groups])))
    choices = tuple(side.choice for side in sides if side.choice)
    if choices:  # each side has other values of what was chosen
        axes = [axis for axis in axes if any(axis in choice.by for choice in choices)]
    points: dict[tuple[str, ...], list[list[Replicates]]] = {}
    for position, side in enumerate(sides):
        for group in side.groups:
            key = tuple(value_of(group.spec, axis) for axis in axes)
            points.setdefault(key, [[] for _ in sides])[position].append(group)
    rows = [
        _row(dict(zip(axes, key, strict=True)), members, metric)
        for key, by_side in points.items()
        for members in _combinations(by_side)
    ]
    names, differs = tuple(side.name for side in sides), _differing(sides)
    return Comparison(metric, names, tuple(rows), _titles(sides, differs), differs, choices)


def _differing(sides: Sequence[Side]) -> dict[str, tuple[str, ...]]:
    everything = varied([group.spec for side in sides for group in side.groups])
    found = {}
    for name in everything:
        values = [{value_of(group.spec, name) for group in side.groups} for side in sides]
        if all(len(each) == 1 for each in values) and len(set().union(*values)) > 1:
            found[name] = tuple(min(each) for each in values)
    return found


def _titles(sides: Sequence[Side], differs: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Their names; of configurations, the values in which they differ, where these are few."""
    names = [side.name for side in sides]
    if all(side.configuration for side in sides) and 0 < len(differs) <= MOST_IN_TITLE:
        names = [" ".join(values) for values in zip(*differs.values(), strict=True)]
    return tuple(names)


def _combinations(by_side: list[list[Replicates]]) -> Iterable[Sequence[Replicates | None]]:
    """One configuration of each side; several where a side has it by several versions of code."""
    choices: list[list[Replicates | None]] = [[*groups] or [None] for groups in by_side]
    return product(*choices)


def _row(point: dict[str, str], members: Sequence[Replicates | None], metric: str) -> ComparedPoint:
    first, *others = members
    differences = tuple(
        estimate(paired_values(other, first, metric)) if first and other else None
        for other in others
    )
    present = [group for group in members if group]
    flags = [f"{group.config_id}: {group.flag}" for group in present if group.flag]
    for position, name in enumerate(("code", "data")):
        if len({origin(group.results[0])[position] for group in present}) > 1:
            flags.append(f"the sides were computed with different {name}")
    if len({device(result) for group in present for result in group.results}) > 1:
        flags.append("computed on different types of device")
    estimates = tuple(group.estimate(metric) if group else None for group in members)
    return ComparedPoint(point, estimates, differences, tuple(flags))


def _specs(store: Store, name: str) -> list[TrialSpec]:
    """The trials of a sweep, or of one of its modes. Raises UserError."""
    sweep, of_mode, mode = name.partition(":")
    specs = lookup.launch_of(store, sweep).specs
    modes = dict.fromkeys(spec.mode for spec in specs)
    if of_mode and mode not in modes:
        raise UserError(f"{name}: sweep {sweep} has no such mode; allowed: {', '.join(modes)}")
    return [spec for spec in specs if mode in ("", spec.mode)]


def _side(store: Store, name: str) -> Side:
    sweep, _, _ = name.partition(":")
    if sweep in store.sweeps():
        groups = gather(_results(store, [spec.trial_id for spec in _specs(store, name)]))
        if not groups:
            raise UserError(f"sweep {name}: no trial has finished; see: bnsweep status {sweep}")
        return Side(name, tuple(groups))
    replicates = gather(_of_configuration(store, name))
    # A trial stands for all seeds of its configuration: then its own name would mislead.
    config_id = replicates[0].config_id
    return Side(name if stands_for(name, config_id) else config_id, tuple(replicates), True)


def _of_configuration(store: Store, name: str) -> list[Result]:
    known = {trial_id: spec for trial_id in store.trial_ids() if (spec := store.spec(trial_id))}
    meant = {
        spec.config_id
        for spec in known.values()
        if stands_for(name, spec.config_id) or stands_for(name, spec.trial_id)
    }
    if len(meant) > 1:
        raise UserError(f"{name}: stands for several configurations:", *sorted(meant))
    results = _results(store, sorted(t for t, spec in known.items() if spec.config_id in meant))
    if not results:
        none = "no trial of this configuration has finished"
        what = none if meant else "no sweep or configuration"
        raise UserError(f"{name}: {what}; see: bnsweep status")
    return results


def _results(store: Store, trial_ids: Sequence[str]) -> list[Result]:
    return [result for trial_id in trial_ids if (result := store.result(trial_id))]


def _cell(estimate: Estimate | None, decimals: int, *, signed: bool = False) -> str:
    if estimate is None:
        return "–"
    sign = "+" if signed and estimate.mean >= 0 else ""
    return f"{sign}{with_interval(estimate, decimals)} ({estimate.n})"


def _numbers(estimate: Estimate | None) -> dict[str, float | int | None]:
    if estimate is None:
        return {"mean": None, "spread": None, "half_width": None, "n": 0}
    return asdict(estimate)
