"""Tables for people: plain data that the command line and the report render."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.reporting import replicates
from orchestrator.reporting.replicates import Replicates
from orchestrator.reporting.statistics import Estimate
from orchestrator.store.records import TrialStatus
from trainer.grouping import apart_from_mode
from trainer.results import Result
from trainer.spec import TrialSpec


@dataclass(frozen=True)
class Table:
    """Text cells under named columns; `notes` stand below."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def accuracy_table(
    specs: Sequence[TrialSpec],
    results: Sequence[Result],
    statuses: Iterable[TrialStatus],
    metric: str = replicates.ACCURACY,
) -> Table:
    """Accuracy by configuration: a row for each point of the other axes, a column a mode.

    A cell is `mean ± standard deviation (n)`; where seeds are missing `(n of all)`, and where none
    has finished the states of its trials.
    """
    axes = replicates.varied(specs)
    rows = [name for name in axes if name != "trainable"] or ["model"]
    modes = list(dict.fromkeys(spec.mode for spec in specs))
    name = metric.replace("/", " ")
    columns = modes if "trainable" in axes else [name]
    states = {status.trial_id: status.state for status in statuses}
    cells: dict[tuple[str, ...], dict[str, list[TrialSpec]]] = {}
    for spec in specs:
        point = tuple(show(getattr(spec, name)) for name in rows)
        column = spec.mode if "trainable" in axes else columns[0]
        cells.setdefault(point, {}).setdefault(column, []).append(spec)
    finished = {result.trial_id: result for result in results}
    body = [
        [*point, *(_cell(by_mode.get(column, []), finished, states, metric) for column in columns)]
        for point, by_mode in cells.items()
    ]
    known = [finished[spec.trial_id] for spec in specs if spec.trial_id in finished]
    title = f"{name.capitalize()} in %, mean ± standard deviation over seeds (n)"
    return Table(title, [*rows, *columns], body, notes(known))


def notes(results: Sequence[Result]) -> list[str]:
    """What a reader must know before trusting a mean of `results`."""
    lines = []
    for position, name in enumerate(("code", "data")):
        digests = {replicates.origin(result)[position] for result in results}
        if len(digests) > 1:
            lines.append(f"results of {len(digests)} versions of the {name}: not averaged together")
    lines += _mixed_devices(results)
    if inexact := sum(not result.exact for result in results):
        lines.append(f"{inexact} resumed under other numerics (exact: false)")
    return lines


def _mixed_devices(results: Sequence[Result]) -> list[str]:
    """What to say of results from several types of GPU, which round differently."""
    types = sorted(set(map(replicates.device, results)))
    if len(types) < 2:
        return []
    of_seed: dict[str, set[str]] = {}
    for result in results:
        of_seed.setdefault(apart_from_mode(result.spec), set()).add(replicates.device(result))
    lines = [f"results of {len(types)} types of device: {', '.join(types)}"]
    if mixed := sum(len(devices) > 1 for devices in of_seed.values()):
        lines.append(
            f"of {mixed} networks and seeds the modes were computed on different types: "
            "what the devices round differently is in their differences"
        )
    return lines


def _cell(
    specs: Sequence[TrialSpec], finished: dict[str, Result], states: Mapping[str, str], metric: str
) -> str:
    results = [finished[spec.trial_id] for spec in specs if spec.trial_id in finished]
    groups = replicates.gather(results)
    if groups:
        return "; ".join(_group(group, len(specs), metric) for group in groups)
    counts = Counter(states.get(spec.trial_id, "pending") for spec in specs)
    return ", ".join(f"{n} {state}" if n > 1 else state for state, n in counts.items()) or "–"


def _group(group: Replicates, expected: int, metric: str) -> str:
    estimate = group.estimate(metric)
    if estimate is None:
        return "no accuracy"
    count = str(estimate.n) if estimate.n == expected else f"{estimate.n} of {expected}"
    spread = "" if estimate.spread is None else f" ± {estimate.spread:.1f}"
    return f"{estimate.mean:.1f}{spread} ({count}{', ' + group.flag if group.flag else ''})"


def with_interval(estimate: Estimate, decimals: int = 1) -> str:
    """`mean ± half of the 95 % interval`, without the second part for a single value."""
    half, mean = estimate.half_width, f"{estimate.mean:.{decimals}f}"
    return mean if half is None else f"{mean} ± {half:.{decimals}f}"


def csv_text(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """The rows as CSV; nothing in a cell of None."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return file.getvalue()


def value_of(spec: TrialSpec, axis: str) -> str:
    """The field's value as shown; of `trainable` the mode, `random_k` with its k."""
    return spec.mode if axis == "trainable" else show(getattr(spec, axis))


def show(value: object) -> str:
    """A field's value as text: 0.1 not 0.10000000000000001, tuples without brackets,
    options as `heads=4 fast=True`."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return " ".join(f"{name}={show(each)}" for name, each in value)
    if isinstance(value, tuple):
        return " ".join(map(show, value)) or "none"
    return str(value)
