"""Limits on a plan: a launch refuses what is beyond them, and says what to drop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from orchestrator.errors import UserError
from orchestrator.planning.costs import memory_bytes
from orchestrator.planning.plan import Group, Plan
from trainer.spec import TrialSpec


def check(
    plan: Plan,
    max_gpu_hours: float | None = None,
    max_memory_gb: float | None = None,
    *,
    unknown_passes: bool = False,
) -> str:
    """Refuse a plan beyond the limits (UserError), and say what to drop.

    `max_memory_gb`: of one trial, in 10⁹ bytes. `unknown_passes`: a plan of unknown length is not
    refused, since nothing starts or a person is asked; what to tell them is returned, else "".
    """
    lines = []
    if max_memory_gb is not None:
        lines += list(_too_large(plan, max_memory_gb))
    if max_gpu_hours is not None:
        lines += list(_too_long(plan, max_gpu_hours))
    unknown = "" if lines or max_gpu_hours is None else _unknown(plan)
    if unknown and not unknown_passes:
        lines.append(
            f"{unknown}; run one of each configuration for an epoch first, without the limit "
            "(--set seeds=1 --set epochs=1), or launch without -y on a terminal, where it asks"
        )
    if lines:
        raise UserError(*lines)
    return unknown


def _too_large(plan: Plan, max_memory_gb: float) -> Iterator[str]:
    for group in plan.groups():
        need = group.costs.memory_bytes / 1e9
        if need > max_memory_gb:
            fitting = _fitting_group(group.spec, max_memory_gb)
            yield (
                f"{group.spec.config_id}: needs {need:.2f} GB, --max-memory allows "
                f"{max_memory_gb:.2f}; drop it ({_exclusion(plan, group)})"
                + (f" or set bn_batch to {fitting}" if fitting else "")
            )


def _fitting_group(spec: TrialSpec, max_memory_gb: float) -> int:
    """The largest BatchNorm group with which the trial fits; 0 where none helps."""
    smaller = (size for size in range(spec.group_size - 1, 1, -1) if spec.batch_size % size == 0)
    fits = (n for n in smaller if memory_bytes(spec.changed(bn_batch=n)) / 1e9 <= max_memory_gb)
    return next(fits, 0)


def _unknown(plan: Plan) -> str:
    totals = plan.totals
    if totals.gpu_hours is not None:
        return ""
    return (
        f"{plan.sweep}: --max-gpu-hours cannot be checked: {totals.trials_of_unknown_length} "
        "trials are of unknown length"
    )


def _too_long(plan: Plan, max_gpu_hours: float) -> Iterator[str]:
    """Of trials whose length is known; the others come on top."""
    needed = sum(row.seconds_left or 0.0 for row in plan.rows if row.runs) / 3600 * plan.gpus
    excess = needed - max_gpu_hours
    if excess <= 0:
        return
    least = "" if plan.totals.gpu_hours is not None else "at least "
    yield (
        f"{plan.sweep}: needs {least}{needed:.1f} GPU-hours, --max-gpu-hours allows "
        f"{max_gpu_hours:g}; dropping these is enough:"
    )
    for group, hours in _longest_first(plan):
        if excess <= 0:
            return
        hours *= plan.gpus
        excess -= hours
        yield f"  {group.spec.config_id}: {hours:.1f} GPU-hours ({_exclusion(plan, group)})"


def _longest_first(plan: Plan) -> list[tuple[Group, float]]:
    hours: dict[str, float] = defaultdict(float)
    for row in plan.rows:
        hours[row.config_id] += (row.seconds_left or 0.0) / 3600
    groups = [(group, hours[group.spec.config_id]) for group in plan.groups()]
    return sorted(groups, key=lambda pair: -pair[1])


def _exclusion(plan: Plan, group: Group) -> str:
    fields = ", ".join(f"{axis}: {getattr(group.spec, axis)}" for axis in plan.axes)
    return f"exclude: [{{{fields}}}]" if fields else "there is nothing else in the sweep"
