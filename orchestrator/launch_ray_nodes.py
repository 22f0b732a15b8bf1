"""Looks at every node of a Ray cluster before anything trains there.

With launch_ray.py the only import of ray. A node answers for itself, in a small task on it: whether
it sees the store and can write there, whether the data is there, and which versions it has.
"""

from __future__ import annotations

import os
import platform
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator import parcel
from orchestrator.errors import UnreachableError

_LIBRARIES = ("torch", "torchvision", "numpy", "ray")
_ANSWER_S = 90.0
"""A node's first task starts a process there and unpacks the job's code."""


@dataclass(frozen=True)
class NodeReport:
    """What a node said of itself."""

    host: str
    address: str
    cpus: float = 0.0
    gpus: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    """One line each: why nothing can train there."""


def look(store: Path, data: Path, specs: Sequence[dict[str, Any]] = ()) -> list[NodeReport]:
    """A report of each living node, the driver's own first. Ray must be connected.

    `specs`: identity fields of one trial for each data set that is wanted. Raises UnreachableError
    where the store cannot be written from here.
    """
    token = secrets.token_hex(8)
    sign = store / f".seen-{token}"
    try:
        sign.write_text(token)
    except OSError as error:
        raise UnreachableError(f"store {store}: cannot be written ({error.strerror})") from error
    try:
        here = versions()
        asked = {
            node["NodeID"]: (node, _on(node).remote(str(store), str(data), token, list(specs)))
            for node in ray.nodes()
            if node["Alive"]
        }
        return [_answer(node, task, sign, here) for node, task in asked.values()]
    finally:
        for left in store.glob(f"{sign.name}*"):
            left.unlink(missing_ok=True)


def problems(reports: Sequence[NodeReport]) -> list[str]:
    """One line for each thing that is wrong on a node."""
    return [f"node {r.host} ({r.address}): {line}" for r in reports for line in r.problems]


def versions() -> dict[str, str]:
    """What decides how a trial is computed here: Python, libraries, our own code."""
    found = {"python": platform.python_version(), "bnsweep": parcel.code_digest()}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = "missing"
    return found


def _on(node: Any) -> Any:
    here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return ray.remote(num_cpus=0, max_retries=0)(_look).options(scheduling_strategy=here)


def _look(store: str, data: str, token: str, specs: list[dict[str, Any]]) -> dict[str, Any]:
    """On the node: what it sees. Plain values, so that other versions can read the answer."""
    found = [*_store_problems(Path(store), token), *_data_problems(Path(data), specs)]
    return {"host": socket.gethostname(), "versions": versions(), "problems": found}


def _store_problems(store: Path, token: str) -> list[str]:
    sign = store / f".seen-{token}"
    try:
        if sign.read_text() != token:
            return [f"store {store}: is another folder there than on the head"]
        (store / f"{sign.name}-{os.getpid()}-{socket.gethostname()}").write_text(token)
    except FileNotFoundError:
        return [f"store {store}: is not the head's; mount the shared file system there"]
    except OSError as error:
        return [f"store {store}: cannot be written ({error.strerror})"]
    return []


def _data_problems(data: Path, specs: list[dict[str, Any]]) -> list[str]:
    if not specs:
        return []
    # As in worker.py: what needs the trainer's libraries is loaded on the node only.
    from trainer.datasets import arrays
    from trainer.errors import DataError
    from trainer.spec import TrialSpec

    found = []
    for fields in specs:
        try:
            arrays(TrialSpec.model_validate(fields), data)
        except DataError as error:
            found.append(str(error))
    return found


def _answer(node: Any, task: Any, sign: Path, here: dict[str, str]) -> NodeReport:
    address = str(node["NodeManagerAddress"])
    silent = NodeReport(str(node["NodeManagerHostname"]), address)
    try:
        said = ray.get(task, timeout=_ANSWER_S)
    except ray.exceptions.GetTimeoutError:
        return _with(silent, f"did not answer within {_ANSWER_S:.0f} s")
    except ray.exceptions.RayError as error:
        return _with(silent, f"cannot run a task: {str(error).strip().splitlines()[-1][:200]}")
    problems = list(said["problems"])
    if not problems and not list(sign.parent.glob(f"{sign.name}-*-{said['host']}")):
        problems.append(f"store {sign.parent}: what is written there does not arrive at the head")
    problems += [
        f"has {name} {said['versions'].get(name)}, the head {version}"
        for name, version in here.items()
        if said["versions"].get(name) != version
    ]
    resources = node["Resources"]
    return NodeReport(
        said["host"],
        address,
        cpus=float(resources.get("CPU", 0)),
        gpus=float(resources.get("GPU", 0)),
        versions=said["versions"],
        problems=tuple(problems),
    )


def _with(report: NodeReport, problem: str) -> NodeReport:
    return NodeReport(report.host, report.address, problems=(problem,))
