"""Looks at every node of a Ray cluster before anything trains there.

A node answers for itself, in a small task on it: whether it sees the store and can write there,
whether the data is there, and which versions it has.
"""

from __future__ import annotations

import contextlib
import json
import logging
import platform
import secrets
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.errors import BnsweepError, UnreachableError
from orchestrator.launching import data_check, ray_environment, room, source_code
from trainer.spec import TrialSpec

_LIBRARIES = ("torch", "torchvision", "numpy", "ray")
_ANSWER_S = 60.0
"""A node's first task starts a process there and unpacks the job's code."""


@dataclass(frozen=True)
class NodeReport:
    """What a node said of itself."""

    host: str
    address: str
    cpus: float = 0.0
    gpus: float = 0.0
    gpu_type: str = ""
    """Ray's name for it, which `resources.gpu_type` takes; empty: none, or unknown."""
    versions: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    """One line each: why nothing can train there."""
    answered: bool = True
    """False for a node that said nothing: it may be dead, which Ray finds out after a minute."""


def look(store: Path, data: Path, specs: Sequence[dict[str, Any]] = ()) -> list[NodeReport]:
    """A report of each living node, the driver's own first. Ray must be connected.

    `specs`: identity fields of one trial for each data set that is wanted. A store that a launch
    would make is there only meanwhile. Raises UnreachableError where it cannot be written.
    """
    sign = store / f".seen-{secrets.token_hex(8)}"
    missing = [folder for folder in (store, *store.parents) if not folder.exists()]
    try:
        store.mkdir(parents=True, exist_ok=True)
        sign.write_text(sign.name, encoding="utf-8")
    except OSError as error:
        raise UnreachableError(f"store {store}: cannot be written ({error.strerror})") from error
    try:
        return _ask(store, data, list(specs), sign)
    finally:
        for left in store.glob(f"{sign.name}*"):
            left.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a launch has begun in it meanwhile
            for folder in missing:
                folder.rmdir()


def problems(reports: Sequence[NodeReport]) -> list[str]:
    """One line for each thing that is wrong on a node."""
    return [f"node {r.host} ({r.address}): {line}" for r in reports for line in r.problems]


def _ask(store: Path, data: Path, specs: list[dict[str, Any]], sign: Path) -> list[NodeReport]:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    tasks = []
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0)(_look).options(scheduling_strategy=there)
        # No trial runs on a node without CPUs, such as a head that only drives.
        wanted = specs if node["Resources"].get("CPU") else []
        tasks.append(task.remote(str(store), str(data), sign.name, wanted))
    ready, _ = ray.wait(tasks, num_returns=len(tasks), timeout=_ANSWER_S)
    here = versions()
    return [
        _report(node, task, sign, here)
        if task in ready
        else _silent(node, f"did not answer within {_ANSWER_S:.0f} s")
        for node, task in zip(nodes, tasks, strict=True)
    ]


def versions() -> dict[str, str]:
    """What decides how a trial is computed here: Python, libraries, our own code."""
    versions = {"python": platform.python_version(), "bnsweep": source_code.code_digest()}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "missing"
    return versions


def _look(store: str, data: str, sign: str, specs: list[dict[str, Any]]) -> dict[str, Any]:
    """On the node: what it sees. Plain values, so that other versions can read the answer."""
    trials = [TrialSpec.model_validate(fields) for fields in specs]
    problems = [*_store_problems(Path(store), sign), *data_check.problems(trials, Path(data))]
    return {"host": socket.gethostname(), "versions": versions(), "problems": problems}


def _store_problems(store: Path, sign: str) -> list[str]:
    try:
        (store / sign).read_text(encoding="utf-8")
        (store / f"{sign}-{socket.gethostname()}").write_text(sign, encoding="utf-8")
    except FileNotFoundError:
        return [f"store {store}: is not the head's; mount the shared file system there"]
    except OSError as error:
        return [f"store {store}: cannot be written ({error.strerror})"]
    return []


def _report(node: Any, task: Any, sign: Path, here: dict[str, str]) -> NodeReport:
    try:
        answer = ray.get(task)
    except ray.exceptions.RayError as error:
        return _silent(node, f"cannot run a task: {str(error).strip().splitlines()[-1][:200]}")
    problems = list(answer["problems"])
    if not problems and not (sign.parent / f"{sign.name}-{answer['host']}").exists():
        problems.append(f"store {sign.parent}: what is written there does not arrive at the head")
    problems += [
        f"has {name} {answer['versions'].get(name)}, the head {version}"
        for name, version in here.items()
        if answer["versions"].get(name) != version
    ]
    return NodeReport(
        answer["host"],
        str(node["NodeManagerAddress"]),
        cpus=float(node["Resources"].get("CPU", 0)),
        gpus=float(node["Resources"].get("GPU", 0)),
        gpu_type=str(node["Labels"].get(room.GPU_TYPE, "")),
        versions=answer["versions"],
        problems=tuple(problems),
    )


def _silent(node: Any, problem: str) -> NodeReport:
    host, address = str(node["NodeManagerHostname"]), str(node["NodeManagerAddress"])
    return NodeReport(host, address, problems=(problem,), answered=False)


def start_here() -> None:
    """Start a small Ray on this machine, run a task on it, and end it. Raises what Ray raises."""
    with ray_environment.own_folder() as folder:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=80 * 1024 * 1024,
            logging_level=logging.ERROR,
            _temp_dir=folder,
        )
        try:
            ray.get(ray.remote(_nothing).remote())
        finally:
            ray.shutdown()


def _nothing() -> None:
    """A task that says by its end that tasks run."""


def _look_at_the_cluster(store: Path, data: Path) -> list[dict[str, Any]]:
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    return [asdict(report) for report in look(store, data, json.load(sys.stdin))]


def main(command: str, *arguments: str) -> int:
    """For doctor, in a process of its own: `start` (`start_here`), or `look STORE DATA` (`look` at
    the cluster of RAY_ADDRESS, specs as JSON on standard input). Prints the answer as JSON."""
    answer: Any = None
    try:
        if command == "look":
            answer = _look_at_the_cluster(*map(Path, arguments))
        else:
            start_here()
    except (BnsweepError, ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
