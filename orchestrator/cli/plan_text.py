"""A plan for people: its tables, and in a few lines what it comes to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Any

from orchestrator import machine
from orchestrator.cli import screen
from orchestrator.launching.board import clock
from orchestrator.planning.plan import Group, Plan, Totals
from orchestrator.planning.power import LEVEL, MAX_SEEDS, POWER, Power
from orchestrator.sweep.labels import field_text
from orchestrator.sweep.resources import Resources
from trainer.spec import TrialSpec


def configuration_table(plan: Plan) -> Any:
    """A line for each configuration, columns for the axes."""
    axes = [axis for axis in plan.axes if axis != "seed"]
    numbers = ["params", "trained", "FLOPs", "memory", "stored", "time"]
    rows = [_configuration_row(group, axes) for group in plan.groups()]
    return screen.table([*axes, *numbers, "state"], rows, right=numbers)


def _configuration_row(group: Group, axes: list[str]) -> list[Any]:
    costs = group.costs
    return [
        *(field_text(group.spec, axis) for axis in axes),
        f"{costs.counts.total:,}",
        f"{costs.counts.trainable:,}",
        screen.size(costs.flops_per_image),
        screen.size(costs.memory_bytes) + "B",
        screen.size(costs.checkpoint_bytes) + "B",
        clock(group.estimate.seconds) if group.estimate else "?",
        screen.counts(group.states),
    ]


def trial_table(plan: Plan) -> Any:
    """A line for each trial."""
    rows = [
        [
            row.trial_id,
            clock(row.estimate.seconds) if row.estimate else "?",
            screen.state(row.status.state),
            row.why,
        ]
        for row in plan.rows
    ]
    return screen.table(["trial", "time", "state", "what launch does"], rows, right=["time"])


def _for_each(resources: Resources) -> str:
    """What the memory is counted for, where several processes train a trial."""
    if resources.ranks == 1:
        return ""
    if resources.gpus in ("auto", 0):
        return f" in each of {resources.ranks} processes"
    return f" on each of {resources.ranks} GPUs"


def summary(plan: Plan) -> list[str]:
    """What the whole plan comes to, in lines."""
    totals = plan.totals
    lines = [
        f"{plan.sweep}: {totals.to_run} of {totals.trials} trials to run",
        training_time(totals, trials_at_once(plan.resources, [row.spec for row in plan.rows])),
    ]
    if totals.to_run:
        lines.append(
            f"largest trial: {screen.size(totals.memory_bytes)}B of tensors and about 1 GB of "
            f"libraries{_for_each(plan.resources)}; store: {screen.size(totals.disk_bytes)}B"
        )
    if running := [row.status for row in plan.rows if row.status.state == "running"]:
        owner = f" ({running[0].owner})" if running[0].owner else ""  # it has not said so yet
        lines.append(
            f"{len(running)} being trained already{owner}; "
            f"to watch them: bnsweep status {plan.sweep} -w"
        )
    for sha256, count in plan.under_other_code.items():
        code = f"other code: {sha256[:12]}…" if sha256 else "no code of your own"
        lines.append(f"{count} finished under {code}; `bnsweep compare` sets them side by side")
    lines += [
        f"{path}: its owner alone may read it, and the store's copy whoever may read the store"
        for path in plan.private_files
    ]
    if plan.removed:
        lines.append(
            f"{len(plan.removed)} trials of the last launch are no longer in the file: left alone"
        )
    return lines


def trials_at_once(resources: Resources, specs: Sequence[TrialSpec] = ()) -> int:
    """How many trials train at once in a launch on this machine; 1 where only Ray knows: on a
    cluster, or beside a GPU."""
    if os.environ.get("RAY_ADDRESS") or resources.gpus not in ("auto", 0):
        return 1
    if resources.gpus == "auto" and shutil.which("nvidia-smi"):
        return 1
    fit = max(1, machine.cpu_count() // resources.reserved_cpus(specs))
    return resources.limited(fit)


def training_time(totals: Totals, at_once: int = 1) -> str:
    """The training time of a plan, and what it is known from."""
    if not totals.to_run:
        return "nothing is left to do"
    if totals.hours is None:
        unknown = totals.trials_of_unknown_length
        return f"time unknown: no finished trial here is comparable to {unknown} of these trials"
    text = f"{clock(totals.hours * 3600)} of training, from times seen in this store"
    at_once = min(at_once, totals.to_run)
    if at_once > 1:
        text += f"; here {at_once} at a time, so about {clock(totals.hours * 3600 / at_once)}"
    return text


def power(points: float, cost: Power | None) -> str:
    """In words what `plan --power` has found."""
    if cost is None:
        return (
            f"to tell {points:g} points apart: unknown, since no configuration like these has two "
            "finished seeds here; --set seeds=2 is a beginning"
        )
    which = "configurations like these" if cost.alike else "of these configurations"
    seen = f"spread over seeds {cost.spread:.2f} points, in {cost.configurations} {which}"
    if cost.seeds is None:
        return f"to tell {points:g} points apart: more than {MAX_SEEDS:,} seeds ({seen})"
    time = f"; {clock(cost.hours * 3600)} of training in all" if cost.hours is not None else ""
    return (
        f"to tell {points:g} points apart: {cost.seeds} seeds of each configuration, "
        f"{cost.planned_seeds} are planned{time} ({seen}; a t test at {100 * LEVEL:g} % that finds "
        f"it with {100 * POWER:g} %)"
    )
