"""The `resources` of a sweep file: what one trial asks of a machine, and how it uses it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from orchestrator.sweep.fields import nearest
from orchestrator.sweep.yaml_text import Node, Problems

KEYS = ("cpus", "gpus", "pack", "kernels", "graphs")
Kernels = Literal["auto", "stock", "fused"]
KERNELS: tuple[Kernels, ...] = get_args(Kernels)
MAX_CPUS = 1024
MAX_PACK = 1024
MAX_SHARES = 1000


@dataclass(frozen=True)
class Resources:
    """What one trial asks of a machine. Nothing here is part of its identity; what changes bits is
    recorded in its result's `numerics`."""

    cpus: int = 1
    gpus: Literal["auto"] | float = "auto"
    """auto: a share of a GPU where there is one, else none; 0, 1 or 1/k."""
    pack: Literal["auto", "off"] | int = "auto"
    """How many trials one worker may train together."""
    kernels: Kernels = "auto"
    """torch's operators, or our kernel for BatchNorm, residual and ReLU."""
    graphs: bool = False
    """On a GPU: each step as one CUDA graph."""


def read_resources(node: Node | None, problems: Problems) -> Resources:
    """The section, or the defaults where it is not given."""
    if node is None:
        return Resources()
    if not isinstance(node.value, dict):
        message = f"found {node.shown()}; allowed: a mapping of {', '.join(KEYS)}"
        problems.add(node.where, "resources", message)
        return Resources()
    for key, value in node.value.items():
        if key not in KEYS:
            message = f"unknown key{nearest(key, KEYS)}; allowed: {', '.join(KEYS)}"
            problems.add(value.where, f"resources.{key}", message)
    cpus = read_whole(node.value.get("cpus"), "resources.cpus", problems, 1, 1, MAX_CPUS)
    gpus = _read_gpus(node.value.get("gpus"), problems)
    pack = _read_pack(node.value.get("pack"), problems)
    kernels = _read_kernels(node.value.get("kernels"), problems)
    return Resources(cpus, gpus, pack, kernels, _read_graphs(node.value.get("graphs"), problems))


def read_whole(
    node: Node | None, label: str, problems: Problems, default: int, low: int, high: int
) -> int:
    """A whole number within bounds; `default` where it is not given."""
    if node is None:
        return default
    value = node.value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        message = f"found {node.shown()}; allowed: a whole number from {low} to {high}"
        problems.add(node.where, label, message)
        return default
    return value


def _read_gpus(node: Node | None, problems: Problems) -> Literal["auto"] | float:
    if node is None or node.value == "auto":
        return "auto"
    share = _share(node)
    if share is None:
        message = f"found {node.shown()}; allowed: auto, 0, 1, or 1/k such as 0.5 or 1/3"
        problems.add(node.where, "resources.gpus", message)
        return "auto"
    if share > 1:
        message = f"found {node.shown()}; one trial over several GPUs is not built yet"
        problems.add(node.where, "resources.gpus", f"{message}; allowed: at most 1")
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


def _read_pack(node: Node | None, problems: Problems) -> Literal["auto", "off"] | int:
    if node is None or node.value == "auto":
        return "auto"
    if node.raw.lower() in ("off", "false", "no"):
        return "off"
    if isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return read_whole(node, "resources.pack", problems, 1, 1, MAX_PACK)
    message = f"found {node.shown()}; allowed: auto, off, or a whole number of trials"
    problems.add(node.where, "resources.pack", message)
    return "auto"


def _read_kernels(node: Node | None, problems: Problems) -> Kernels:
    for name in KERNELS:
        if node is None or node.value == name:
            return name
    assert node is not None
    message = f"found {node.shown()}; allowed: {', '.join(KERNELS)}"
    problems.add(node.where, "resources.kernels", message)
    return "auto"


def _read_graphs(node: Node | None, problems: Problems) -> bool:
    if node is None or node.raw.lower() in ("off", "false", "no"):
        return False
    if node.raw.lower() in ("on", "true", "yes"):
        return True
    message = f"found {node.shown()}; allowed: on, off"
    problems.add(node.where, "resources.graphs", message)
    return False
