"""What each task must be given of a machine, chosen by the nodes that are there. Knows no Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from orchestrator.launching import gpu_types
from orchestrator.launching.worker import PackTask
from orchestrator.planning import costs
from orchestrator.planning.host_memory import GB, host_bytes
from orchestrator.sweep.resources import Resources, decodes
from trainer.spec import TrialSpec

GPU_TYPE = "ray.io/accelerator-type"
"""The label that Ray gives a node with a GPU: `H100`."""
_USABLE = 0.9
_CONTEXT_BYTES = 1200 * 1024 * 1024
"""What a process takes of a GPU beside its planned tensors: the images, libraries' workspaces and a
graph's own memory (0.7 GB for ResNet-14 on an H200), and the context."""
_MOST_SHARES = 8
_MEMORY_STEP = GB // 2
"""Memory is asked for in such steps: a worker is only reused by a trial that asks for the same."""


@dataclass(frozen=True)
class Node:
    """What a node has, as Ray counts it."""

    cpus: float = 0.0
    gpus: float = 0.0
    memory: float = 0.0
    """Bytes that may be reserved, whatever is in use (Ray takes 70 % of a host's by itself)."""
    gpu_type: str = ""
    gpu_bytes: int = 0
    """Memory of its smallest GPU; 0: unknown."""
    host: str = ""


@dataclass(frozen=True)
class Need:
    """What a task must be given, all of it by one node."""

    cpus: int
    gpus: float = 0.0
    memory: int = 0
    """Bytes of the host's; 0: nothing is reserved."""
    gpu_types: tuple[str, ...] = ()
    """Any of these; empty: any GPU."""

    @property
    def bundle(self) -> dict[str, float]:
        """As Ray counts it."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return {name: float(count) for name, count in wanted.items() if count}

    @property
    def labels(self) -> dict[str, str]:
        """Which labels of a node Ray must look for."""
        return {GPU_TYPE: f"in({','.join(self.gpu_types)})"} if self.gpu_types else {}

    def fits(self, node: Node) -> bool:
        """Whether the node has it, be it in use or not."""
        if self.gpu_types and node.gpu_type not in self.gpu_types:
            return False
        enough = node.cpus >= self.cpus and node.memory >= self.memory
        return enough and node.gpus >= self.gpus

    def __str__(self) -> str:
        of_type = f" of type {' or '.join(self.gpu_types)}" if self.gpu_types else ""
        memory = f" with {self.memory / GB:g} GB of memory" if self.memory else ""
        return f"{self.cpus:g} CPUs and {self.gpus:g} GPUs{of_type}{memory}"


def needs(
    resources: Resources,
    nodes: Sequence[Node],
    tasks: Sequence[PackTask],
    trained_on: Mapping[str, str] = MappingProxyType({}),
) -> list[Need]:
    """What each of the tasks needs. Where GPUs are of several types, all modes of a seed get one;
    `trained_on`: those that are decided (see `gpu_types`)."""
    types, usable = types_of(resources, nodes), _usable(resources, nodes)
    either = [_need(resources, usable, task) for task in tasks]
    if resources.gpus == 0 or len(types) < 2:
        return either
    of_type = {name: [node for node in usable if node.gpu_type == name] for name in types}
    alone = {name: [_need(resources, of_type[name], task) for task in tasks] for name in types}
    fitting = [
        frozenset(
            name
            for name in types
            if any(alone[name][index].fits(n) and _fits_a_gpu(task, n) for n in of_type[name])
        )
        for index, task in enumerate(tasks)
    ]
    speeds = {name: sum(map(_speed, of_type[name])) for name in types}
    if not all(node.gpu_bytes for node in usable):
        speeds = {name: sum(node.gpus for node in of_type[name]) for name in types}
    chosen = gpu_types.one_for_each(tasks, speeds, fitting, trained_on)
    return [
        replace(alone[name][index], gpu_types=(name,)) if name else either[index]
        for index, name in enumerate(chosen)
    ]


def _speed(node: Node) -> float:
    """Of its GPUs together, beside other types': nearly all with more memory are faster."""
    return node.gpus * node.gpu_bytes


def _fits_a_gpu(task: PackTask, node: Node) -> bool:
    """Whether the node's GPUs have the memory, as far as it is known."""
    planned = max(map(costs.memory_bytes, task.trials)) + _CONTEXT_BYTES
    return not node.gpu_bytes or planned <= _USABLE * node.gpu_bytes


def types_of(resources: Resources, nodes: Sequence[Node]) -> list[str]:
    """The types of the GPUs that trials may use, where Ray knows them all."""
    types = {node.gpu_type for node in _usable(resources, nodes)}
    return [] if "" in types else sorted(types)


def _usable(resources: Resources, nodes: Sequence[Node]) -> list[Node]:
    """Nodes with GPUs, of the types that are allowed."""
    types = resources.gpu_type
    return [n for n in nodes if n.gpus and (not types or n.gpu_type in types)]


def _need(resources: Resources, usable: Sequence[Node], task: PackTask) -> Need:
    gpus = _gpus(resources, usable, task.trials)
    cpus = resources.training_cpus + _decoders(resources, usable, task.trials, gpus)
    memory = _memory(resources, task, cpus, gpus)
    return Need(cpus, gpus, memory, resources.gpu_type if gpus else ())


def lacking(wanted: Sequence[Need], nodes: Sequence[Node]) -> list[Need]:
    """Those that no node has, each once."""
    return [need for need in dict.fromkeys(wanted) if not any(map(need.fits, nodes))]


def lack(need: Need, nodes: Sequence[Node]) -> str:
    """What to tell a person of a need that no node has."""
    cpus = max((node.cpus for node in nodes), default=0.0)
    gpus = max((node.gpus for node in nodes), default=0.0)
    memory = max((node.memory for node in nodes), default=0.0)
    reserved = f", {memory / GB:.1f} GB to reserve" if need.memory else ""
    types = sorted({node.gpu_type or "unknown" for node in nodes if node.gpus})
    here = f" ({', '.join(types)})" if need.gpu_types and types else ""
    return (
        f"resources: no node has {need} for a trial; "
        f"the largest has {cpus:g} CPUs and {gpus:g} GPUs{here}{reserved}"
    )


def chosen(wanted: Sequence[Need]) -> str:
    """What `gpus: auto` comes to, for a person."""
    most, least = (which(need.gpus for need in wanted) for which in (max, min))
    if not most:
        return "no GPU here, trials train on CPUs"
    if least >= 1:
        return f"{most:g} GPUs for each trial"
    some = f"{1 / most:g} to " if most > least else ""
    return f"{some}{1 / least:g} trials on each GPU"


def share(device_bytes: int, trial_bytes: int, at_most: int) -> float:
    """1/k of a GPU, k the trials that fit beside each other (Ray misplaces other fractions)."""
    fit = int(device_bytes * _USABLE) // (trial_bytes + _CONTEXT_BYTES)
    return 1.0 / max(1, min(fit, at_most, _MOST_SHARES))


def decoders_for(nodes: Sequence[Node], gpus: float, cpus: int) -> int:
    """The CPUs that every node has for each trial of such a share of its GPUs, beside the `cpus`
    that the trial has itself."""
    shares = (node.cpus * gpus / node.gpus for node in nodes)
    return max(0, int(min(shares, default=0.0)) - cpus)


def _gpus(resources: Resources, nodes: Sequence[Node], trials: Sequence[TrialSpec]) -> float:
    """GPUs for a pack; `auto`: 1/k where k like it fit the smallest device, 0 without one."""
    if resources.gpus != "auto":
        return float(resources.gpus)
    if not nodes and not resources.gpu_type:
        return 0.0
    if resources.processes > 1:
        return float(resources.processes)
    if not nodes or any(spec.own for spec in trials):
        return 1.0  # its peak is not known well enough to put several on one device
    cpus_for_each_gpu = min(int(n.cpus / n.gpus / resources.cpus) for n in nodes)
    largest_trial = max(map(costs.memory_bytes, trials))
    return share(min(n.gpu_bytes for n in nodes), largest_trial, cpus_for_each_gpu)


def _memory(resources: Resources, task: PackTask, cpus: int, gpus: float) -> int:
    """Bytes of its host's memory that a task reserves."""
    if resources.memory == "off":
        return 0
    decoders = (cpus - resources.training_cpus) or task.decoders
    planned = host_bytes(
        task.trials, on_gpu=bool(gpus), processes=resources.ranks, decoders=decoders
    )
    return -(-planned // _MEMORY_STEP) * _MEMORY_STEP


def _decoders(
    resources: Resources, nodes: Sequence[Node], trials: Sequence[TrialSpec], gpus: float
) -> int:
    """Decoders that have a CPU of their own, for a pack: what the file says, or `auto`."""
    if resources.decoders != "auto" or not gpus or not any(map(decodes, trials)):
        return resources.reserved_cpus(trials) - resources.training_cpus
    return decoders_for(nodes, gpus, resources.training_cpus)
