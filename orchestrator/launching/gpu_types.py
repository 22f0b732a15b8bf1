"""One type of GPU for all modes of a seed, where a cluster has several: they are compared with each
other, and a difference shall be of the modes alone. Knows no Ray."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.launching.worker import PackTask
from orchestrator.planning import costs
from orchestrator.store import liveness
from orchestrator.store.store import Store
from trainer.grouping import apart_from_mode
from trainer.spec import TrialSpec


def one_for_each(
    tasks: Sequence[PackTask],
    speeds: Mapping[str, float],
    fitting: Sequence[frozenset[str]],
    trained_on: Mapping[str, str],
) -> list[str]:
    """The type for each task; empty where none fits all that must go together.

    `speeds`: what the GPUs of each type do together, beside the others'; `fitting`: the types that
    have room for each task; `trained_on`: types that are decided already, by `apart_from_mode`.
    The others go where the operations of training end first.
    """
    chosen, load = [""] * len(tasks), dict.fromkeys(speeds, 0.0)
    for members in _together(tasks):
        trials = [spec for index in members for spec in tasks[index].trials]
        types = frozenset(speeds).intersection(*(fitting[index] for index in members))
        decided = [trained_on[key] for key in map(apart_from_mode, trials) if key in trained_on]
        types = types.intersection(decided[:1]) or types
        if not types:
            continue
        work = sum(costs.training_flops(spec) or float(spec.epochs) for spec in trials)
        best = min(sorted(types), key=lambda name: (load[name] + work) / speeds[name])
        load[best] += work
        for index in members:
            chosen[index] = best
    return chosen


def trained_on(
    store: Store, specs: Iterable[TrialSpec], hosts: Mapping[str, str], types: Iterable[str]
) -> dict[str, str]:
    """The type that trials were or are trained on, by `apart_from_mode`: what a result says, or
    else the host of the newest attempt. `hosts`: the types of those that are there."""
    found: dict[str, str] = {}
    known = sorted(types, key=len, reverse=True)  # RTX-A6000 before A6000
    for spec in specs:
        key = apart_from_mode(spec)
        if key not in found and (name := _trained_on(store, spec.trial_id, hosts, known)):
            found[key] = name
    return found


def _trained_on(store: Store, trial_id: str, hosts: Mapping[str, str], types: Sequence[str]) -> str:
    attempts = store.attempts(trial_id)
    if not attempts:
        return ""
    if result := store.result(trial_id):
        name = str(result.numerics.get("device_name", ""))
        return next((t for t in types if is_type(name, t)), "")
    start = liveness.read_start(store.attempt_folder(trial_id, attempts[-1]))
    return hosts.get(start.host, "") if start else ""


def is_type(device_name: str, gpu_type: str) -> bool:
    """Whether a device, as torch names it (`NVIDIA H100 80GB HBM3`), is of Ray's type (`H100`)."""
    words = re.escape(gpu_type).replace(r"\-", "[ -]")
    return re.search(rf"(^|[ -]){words}($|[ -])", device_name) is not None


def _together(tasks: Sequence[PackTask]) -> list[list[int]]:
    """Indices of tasks that have modes of one seed between them, be it through others."""
    of_key: dict[str, tuple[list[int], set[str]]] = {}
    for index, task in enumerate(tasks):
        members, keys = [index], {apart_from_mode(spec) for spec in task.trials}
        joined = {id(of_key[key]): of_key[key] for key in keys if key in of_key}
        for others, their_keys in joined.values():
            members, keys = others + members, keys | their_keys
        of_key.update(dict.fromkeys(keys, (sorted(members), keys)))
    groups = {id(group): group[0] for group in of_key.values()}
    return sorted(groups.values())
