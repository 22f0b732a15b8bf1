"""The `resources` of a sweep file: what one trial asks of a machine, and how it uses it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from orchestrator.sweep.fields import reading, refusal, typed, whole
from orchestrator.sweep.problems import Problems
from orchestrator.sweep.yaml_text import Node
from trainer.data_sets import data_set
from trainer.spec import TrialSpec

Kernels = Literal["auto", "stock", "fused"]
Decoder = Literal["auto", "pil", "torchcodec"]
MAX_AT_ONCE = 10_000
MAX_CPUS = 1024
MAX_PACK = 1024
MAX_PROCESSES = 64
MAX_SHARES = 1000
MAX_TIME_S = 24 * 3600
_UNITS = {"s": 1, "m": 60, "h": 3600}
_TIME = "^[1-9][0-9]{0,4}[smh]$"
_TYPE = "^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"


def _read_gpus(node: Any) -> Any:
    if not isinstance(node, Node):
        return node
    share = "auto" if node.value == "auto" else _share(node)
    if share is None:
        raise refusal(f"found {node.shown()}", "auto, 0, 1, 2 or more, or 1/k such as 1/3")
    if isinstance(share, float) and share > MAX_PROCESSES:
        raise refusal(f"found {node.shown()}", f"at most {MAX_PROCESSES}, on one node")
    return share


def _share(node: Node) -> float | None:
    """0, a whole number, or 1/k, written as a decimal or as `1/k`; None where it is none of these.

    Other fractions make Ray place trials wrongly or wait forever.
    """
    if match := re.fullmatch(r"1/([1-9][0-9]{0,3})", node.raw):
        return 1 / int(match[1]) if int(match[1]) <= MAX_SHARES else None
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    if float(value).is_integer():
        return float(value)
    if value > 1 or value < 1 / MAX_SHARES:
        return None
    shares = round(1 / value)
    return 1 / shares if abs(1 / shares - value) < 5e-4 / shares else None


def _read_pack(node: Any) -> Any:
    if not isinstance(node, Node):
        return node
    if node.raw.lower() in ("off", "false", "no"):
        return "off"
    number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
    if node.value != "auto" and not number:
        raise refusal(f"found {node.shown()}", "auto, off, or a whole number of trials")
    return node if number else "auto"


def _read_decoders(node: Any) -> Any:
    if not isinstance(node, Node):
        return node
    if node.value != "auto" and (isinstance(node.value, bool) or not isinstance(node.value, int)):
        raise refusal(f"found {node.shown()}", f"auto, or a whole number from 0 to {MAX_CPUS}")
    return node if node.value != "auto" else "auto"


def _read_at_once(node: Any) -> Any:
    if not isinstance(node, Node):
        return node
    if node.raw.lower() in ("off", "false", "no"):
        return "off"
    if isinstance(node.value, bool) or not isinstance(node.value, int):
        raise refusal(f"found {node.shown()}", f"off, or a whole number from 1 to {MAX_AT_ONCE}")
    return node


def _read_gpu_type(node: Any) -> Any:
    if not isinstance(node, Node):
        return node
    items = node.items if isinstance(node.value, list) else [node]
    names = tuple(item.raw for item in items if isinstance(item.value, str | int))
    if len(names) < len(items) or not all(re.fullmatch(_TYPE, name) for name in names):
        allowed = "a name that Ray has for a type of GPU, such as H100, or a list of them"
        raise refusal(f"found {node.shown()}", allowed)
    return names


def _read_memory(node: Any) -> Any:
    if not isinstance(node, Node):
        return node
    if node.raw.lower() in ("off", "false", "no"):
        return "off"
    if node.value != "auto":
        raise refusal(f"found {node.shown()}", "auto, off")
    return "auto"


def _read_time(node: Any) -> Any:
    if not isinstance(node, Node):
        return node
    if node.raw.lower() in ("off", "false", "no"):
        return "off"
    if re.fullmatch(_TIME, node.raw) and _seconds(node.raw) <= MAX_TIME_S:
        return node.raw
    allowed = "off, or a time from 1s to 24h such as 90s, 10m or 2h"
    raise refusal(f"found {node.shown()}", allowed)


def _seconds(time: str) -> int:
    return int(time[:-1]) * _UNITS[time[-1]]


_TIME_OR_OFF = Annotated[
    Literal["off"] | Annotated[str, Field(pattern=_TIME)],
    BeforeValidator(_read_time, Literal["off", False] | Annotated[str, Field(pattern=_TIME)]),
]
_SHARE = (
    Annotated[float, Field(ge=0, le=1)]
    | whole(2, MAX_PROCESSES)
    | Annotated[str, Field(pattern="^1/[1-9][0-9]*$")]
)
_GPUS = Literal["auto"] | _SHARE
_ONE_TYPE = Annotated[str, Field(pattern=_TYPE)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Resources:
    """What one trial asks of a machine. Nothing here is part of its identity; what changes bits is
    recorded in its result's `numerics`."""

    cpus: Annotated[int, typed(whole(1, MAX_CPUS))] = 1
    gpus: Annotated[
        Literal["auto"] | Annotated[float, Strict()], BeforeValidator(_read_gpus, _GPUS)
    ] = "auto"
    """auto: a share of a GPU where there is one, else none; 0, 1, 1/k, or several whole ones, which
    share the BatchNorm groups of each step."""
    processes: Annotated[int, typed(whole(1, MAX_PROCESSES))] = 1
    """So many train a trial together, each on `cpus` threads, or with a GPU of its own."""
    pack: Annotated[
        Literal["auto", "off"] | Annotated[int, typed(whole(1, MAX_PACK))],
        BeforeValidator(_read_pack, Literal["auto", "off", False] | whole(1, MAX_PACK)),
    ] = "auto"
    """How many trials one worker may train together."""
    kernels: Annotated[Kernels, reading({"enum": get_args(Kernels)})] = "auto"
    """torch's operators, or our kernel for BatchNorm, residual and ReLU."""
    graphs: Annotated[
        bool, Strict(), reading({"type": "boolean"}, "on, off", Literal["on", "off", True, False])
    ] = True
    """On a GPU: each step as one CUDA graph."""
    decoders: Annotated[
        Literal["auto"] | Annotated[int, typed(whole(0, MAX_CPUS))],
        BeforeValidator(_read_decoders, Literal["auto"] | whole(0, MAX_CPUS)),
    ] = "auto"
    """Processes that decode folders of images for a trial, a CPU for each; `auto`: the CPUs that a
    node has for each trial with a GPU, else two beside the trial's own CPUs."""
    decoder: Annotated[Decoder, reading({"enum": get_args(Decoder)})] = "auto"
    """What decodes images; `auto`: PIL."""
    checkpoint_every: _TIME_OR_OFF = "10m"
    """So long after the last checkpoint another one is written within an epoch; `off`: at the ends
    of epochs only."""
    wait: _TIME_OR_OFF = "off"
    """So long a launch on a cluster waits for a node that has room for a trial."""
    at_once: Annotated[
        Literal["off"] | Annotated[int, typed(whole(1, MAX_AT_ONCE))],
        BeforeValidator(_read_at_once, Literal["off", False] | whole(1, MAX_AT_ONCE)),
    ] = "off"
    """A launch trains at most so many trials side by side (a pack has the room of one and counts as
    one), whatever else is free; `off`: as many as there is room for."""
    gpu_type: Annotated[
        tuple[_ONE_TYPE, ...], BeforeValidator(_read_gpu_type, _ONE_TYPE | list[_ONE_TYPE])
    ] = ()
    """Types of GPUs, as Ray names them (`H100`), of which a trial's must be; empty: any."""
    memory: Annotated[
        Literal["off", "auto"], BeforeValidator(_read_memory, Literal["off", "auto", False])
    ] = "off"
    """auto: Ray places a trial where the host still has the memory that it is planned to need."""

    @property
    def checkpoint_every_s(self) -> float | None:
        """`checkpoint_every` in seconds, None for `off`."""
        return None if self.checkpoint_every == "off" else float(_seconds(self.checkpoint_every))

    @property
    def wait_s(self) -> float:
        """`wait` in seconds."""
        return 0.0 if self.wait == "off" else float(_seconds(self.wait))

    def limited(self, trials: int) -> int:
        """So many trials, or fewer where `at_once` says so."""
        return trials if self.at_once == "off" else min(trials, self.at_once)

    @property
    def ranks(self) -> int:
        """Processes that train a trial together: one for each of several GPUs."""
        gpus = 1 if self.gpus == "auto" else int(self.gpus)
        return max(self.processes, gpus)

    @property
    def planned_gpus(self) -> float:
        """GPUs of each trial; with `gpus: auto` as if there were enough."""
        return float(self.processes if self.gpus == "auto" else self.gpus)

    @property
    def training_cpus(self) -> int:
        """CPUs of a trial beside those of its decoders."""
        return self.cpus * self.ranks

    def reserved_cpus(self, specs: Iterable[TrialSpec]) -> int:
        """CPUs that each of these trials is given, as far as the sweep file says."""
        if self.decoders == "auto" or not any(map(decodes, specs)):
            return self.training_cpus
        return self.training_cpus + self.decoders


def check(
    resources: Resources, trials: Sequence[TrialSpec], node: Node, problems: Problems
) -> None:
    """A problem for what contradicts itself or the trials; `node`: the section."""
    if resources.gpu_type and resources.gpus == 0:
        place, types = node.entry("gpu_type").place, ", ".join(resources.gpu_type)
        allowed = "with gpus: auto, 1 or more, or 1/k"
        problems.add(place, "resources.gpu_type", f"found {types} with gpus: 0", allowed)
    _check_ranks(resources, trials, node, problems)


def _check_ranks(
    resources: Resources, trials: Sequence[TrialSpec], node: Node, problems: Problems
) -> None:
    """A problem where so many processes cannot share the steps of a trial."""
    if resources.ranks == 1:
        return
    if resources.gpus not in ("auto", 0) and resources.processes not in (1, resources.gpus):
        problems.add(
            node.entry("processes").place,
            "resources.processes",
            f"found {resources.processes} with gpus: {resources.gpus:g}",
            "one for each GPU, or without processes",
        )
    key = "processes" if resources.processes == resources.ranks else "gpus"
    if unfit := next((spec for spec in trials if spec.groups % resources.ranks), None):
        common = math.gcd(*(spec.groups for spec in trials))
        divisors = [str(n) for n in range(1, common + 1) if common % n == 0]
        problems.add(
            node.entry(key).place,
            f"resources.{key}",
            f"{resources.ranks} cannot share the {_groups(unfit)} of a batch "
            f"({unfit.batch_size} images in groups of {unfit.group_size})",
            f"{', '.join(divisors)}, or with another bn_batch{_such_as(unfit, resources.ranks)}",
        )


def _groups(spec: TrialSpec) -> str:
    return "one BatchNorm group" if spec.groups == 1 else f"{spec.groups} BatchNorm groups"


def _such_as(spec: TrialSpec, ranks: int) -> str:
    return "" if spec.batch_size % ranks else f" such as {spec.batch_size // ranks}"


def decodes(spec: TrialSpec) -> bool:
    """Whether the trial's images are decoded while it trains."""
    return data_set(spec.dataset).storage == "folder"
