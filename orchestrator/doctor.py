"""What would stop a launch here: each check in a line, with what to do."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import orchestrator
import trainer
from orchestrator import python_process
from orchestrator.errors import BnsweepError, UnreachableError, UserError
from orchestrator.extensions import MLFLOW, RAY
from orchestrator.launching import data_check, ray_environment
from orchestrator.planning import costs
from orchestrator.settings import Settings
from orchestrator.store import file_system
from orchestrator.store.store import Store
from orchestrator.tracking import mlflow_environment
from orchestrator.tracking.tracker import Tracker
from trainer.spec import TrialSpec

PACKAGES = ("torch", "torchvision", "ray", "mlflow")
LITTLE_DISK_BYTES = 500_000_000
_TRACKER_S = 10.0
_STARTS_S = 120.0

_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listens on loopback alone
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    """What was found, and what to do where it is not fine."""
    exit_code: int = 0
    """What a launch would end with because of this; 0 where it would go on."""


def examine(
    where: Settings, specs: Sequence[TrialSpec], connect: Callable[[], Tracker]
) -> Iterator[Finding]:
    """All checks, each as soon as it is done, those that take a while last. `specs`: the trials
    that a launch would run."""
    yield _python()
    yield _names()
    yield _store(where)
    yield _disk(where, specs)
    yield _data(where, specs)
    yield _torch()
    yield _tracker(where, connect)
    if os.environ.get("RAY_ADDRESS"):
        yield from _nodes(where, specs)
    else:
        yield _ray()


def bad_addresses(
    where: Settings, launcher: str = RAY, tracker: str = MLFLOW
) -> list[BnsweepError]:
    """What in the environment can never work, found in seconds."""
    found: list[BnsweepError] = []
    if tracker == MLFLOW and (line := mlflow_environment.problem(where.tracking_uri)):
        found.append(UserError(line))
    if launcher == RAY and (line := ray_environment.problem()):
        found.append(UnreachableError(line))
    return found


def exit_code(checks: Iterable[Finding]) -> int:
    """What a launch would end with: 3 something is not reached, 2 a mistake, 0 it would run."""
    return max((check.exit_code for check in checks), default=0)


def foreign_packages() -> list[str]:
    """Our two packages that another package of the same name was installed over."""
    return [
        f"package {module.__name__} at {Path(str(module.__file__)).parent} is not bnsweep's: "
        "another of that name was installed over it; install bnsweep into a fresh environment"
        for module in (orchestrator, trainer)
        if getattr(module, "PROJECT", "") != "bnsweep"
    ]


def _python() -> Finding:
    versions, missing = [f"Python {platform.python_version()}"], []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("versions", False, f"missing: {', '.join(missing)}; pip install bnsweep", 2)
    return Finding("versions", True, ", ".join(versions))


def _names() -> Finding:
    found = foreign_packages()
    return Finding("packages", not found, "; ".join(found) or "ours", 2 if found else 0)


def _torch() -> Finding:
    try:
        answer = python_process.ask("trainer", "devices", timeout_s=_STARTS_S)
    except UserError as error:
        return Finding("torch", False, f"cannot be loaded: {error}", 2)
    device = ", ".join(answer["gpus"]) or "no GPU that torch can use: trials run on the CPU"
    problem = answer["kernel_problem"]
    if problem and not answer["gpus"]:  # on a GPU trials take torch's operators
        return Finding("torch", False, f"{device}; slower without its kernel: {problem}")
    return Finding("torch", True, device)


def _ray() -> Finding:
    try:
        _ask_ray("start")
    except UserError as error:
        return Finding("ray", False, f"cannot be started here: {error}", 3)
    return Finding("ray", True, "starts here and runs a task")


def _ask_ray(*arguments: object, given: object = None) -> Any:
    return python_process.ask(
        "orchestrator.launching.ray_nodes",
        *arguments,
        given=given,
        environment=_RAY_ENVIRONMENT,
        timeout_s=_STARTS_S,
    )


def _nodes(where: Settings, specs: Sequence[TrialSpec]) -> Iterator[Finding]:
    """The cluster that a launch here would use, and what each of its nodes says of itself."""
    if problem := ray_environment.problem():
        yield Finding("ray", False, problem, 3)
        return
    address = os.environ["RAY_ADDRESS"]
    fields = [spec.identity_fields() for spec in data_check.wanted(specs)]
    try:
        nodes = _ask_ray("look", where.store, where.data, given=fields)
    except UserError as error:
        yield Finding("ray", False, f"RAY_ADDRESS={address}: {error}", 3)
        return
    yield Finding("ray", True, f"RAY_ADDRESS={address}: {len(nodes)} nodes")
    for node in nodes:
        detail = f"{node['host']} ({node['address']}): "
        if problems := node["problems"]:
            yield Finding("node", False, detail + "; ".join(problems), 3 if node["answered"] else 0)
        else:
            of_type = f" ({node['gpu_type']})" if node["gpus"] and node["gpu_type"] else ""
            has = f"{node['cpus']:g} CPUs, {node['gpus']:g} GPUs{of_type}"
            yield Finding("node", True, f"{detail}{has}")


def _store(where: Settings) -> Finding:
    store, there = Store(where.store), _existing(where.store)
    try:
        lacks = file_system.problems(there, two_processes=True)
        store.check_version()
    except OSError as error:
        return Finding(
            "store", False, f"{there}: cannot be written ({error.strerror}); try --store", 3
        )
    except BnsweepError as error:
        return Finding("store", False, str(error), error.exit_code)
    if lacks:
        return Finding("store", False, store.cannot_be_here(lacks), 3)
    found = "can be written" if there == where.store else "a launch makes it"
    owned = "names are taken once, files replaced whole, by two processes at once"
    return Finding("store", True, f"{where.store}: {found}; {owned}")


def _disk(where: Settings, specs: Sequence[TrialSpec]) -> Finding:
    free = shutil.disk_usage(_existing(where.store)).free
    need = sum(map(costs.checkpoint_bytes, specs)) + costs.initial_weights_bytes(specs)
    detail = f"{free / 1e9:.1f} GB free for the store, {need / 1e9:.2f} GB wanted"
    if free < need + LITTLE_DISK_BYTES:
        return Finding("disk", False, f"{detail}; try bnsweep gc, or another --store", 3)
    return Finding("disk", True, detail)


def _data(where: Settings, specs: Sequence[TrialSpec]) -> Finding:
    looked_for = data_check.wanted(specs)
    if not looked_for:
        return Finding("data", True, "nothing to look for (digits and synthetic are always there)")
    found = data_check.problems(looked_for, where.data)
    names = ", ".join(sorted({spec.dataset for spec in looked_for}))
    seen = data_check.found(looked_for, where.data)
    detail = "; ".join(found or seen) or f"{names} in {where.data}"
    return Finding("data", not found, detail, 2 if found else 0)


def _tracker(where: Settings, connect: Callable[[], Tracker]) -> Finding:
    """A tracker that is away stops nothing: the launch says so, and `sync` sends it later."""
    if problem := mlflow_environment.problem(where.tracking_uri):
        return Finding("tracker", False, problem, 2)
    database = where.store / "mlflow.db"
    if where.embedded_tracker and not database.exists():
        return Finding("tracker", True, f"{database}: a launch makes it")
    try:
        connect().check(_TRACKER_S)
    except UnreachableError as error:
        return Finding("tracker", False, f"{error}; a launch trains anyway, sync sends it later")
    except BnsweepError as error:
        return Finding("tracker", False, str(error))
    found = f"the store's own ({database})" if where.embedded_tracker else "the server answers"
    return Finding("tracker", True, found)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
