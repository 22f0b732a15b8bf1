"""Limits on a plan: a launch refuses what is beyond them, and says what to drop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from orchestrator.errors import UserError
from orchestrator.planning.costs import memory_bytes
from orchestrator.planning.plan import Group, Plan
from trainer.spec import TrialSpec


def check(
    plan: Plan, max_gpu_hours: float | None = None, max_memory_gb: float | None = None
) -> None:
    """Refuse a plan beyond the limits (UserError), and say what to drop.

    `max_memory_gb`: of one trial, in 10⁹ bytes.
    """
    lines = []
    if max_memory_gb is not None:
        lines += list(_too_large(plan, max_memory_gb))
    if max_gpu_hours is not None:
        lines += list(_too_long(plan, max_gpu_hours))
    if lines:
        raise UserError(*lines)


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


def _too_long(plan: Plan, max_gpu_hours: float) -> Iterator[str]:
    totals = plan.totals
    if totals.gpu_hours is None:
        yield (
            f"{plan.sweep}: --max-gpu-hours cannot be kept: {totals.trials_of_unknown_length} "
            "trials are of unknown length; run one of each configuration for an epoch first "
            "(--set seeds=1 --set epochs=1)"
        )
        return
    excess = totals.gpu_hours - max_gpu_hours
    if excess <= 0:
        return
    yield (
        f"{plan.sweep}: needs {totals.gpu_hours:.1f} GPU-hours, --max-gpu-hours allows "
        f"{max_gpu_hours:g}; dropping these is enough:"
    )
    share = totals.gpu_hours / totals.hours if totals.hours else 0.0
    for group, hours in _longest_first(plan):
        if excess <= 0:
            return
        excess -= hours * share
        yield f"  {group.spec.config_id}: {hours * share:.1f} GPU-hours ({_exclusion(plan, group)})"


def _longest_first(plan: Plan) -> list[tuple[Group, float]]:
    hours: dict[str, float] = defaultdict(float)
    for row in plan.rows:
        hours[row.config_id] += (row.seconds_left or 0.0) / 3600
    groups = [(group, hours[group.spec.config_id]) for group in plan.groups()]
    return sorted(groups, key=lambda pair: -pair[1])


def _exclusion(plan: Plan, group: Group) -> str:
    fields = ", ".join(f"{axis}: {getattr(group.spec, axis)}" for axis in plan.axes)
    return f"exclude: [{{{fields}}}]" if fields else "there is nothing else in the sweep"
