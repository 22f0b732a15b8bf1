"""How a benchmark is taken: variants interleaved in rounds, medians, ratios within a round."""

from __future__ import annotations

import contextlib
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "torchvision", "torchcodec", "pillow", "numpy", "ray", "mlflow")


@dataclass
class Case:
    """One comparison: `rates` (more is better, in `unit`) of each variant by round; ratios are
    against `baseline` in the same round, so that a slow moment of the machine hits both."""

    name: str
    unit: str
    baseline: str
    rates: dict[str, list[float]] = field(default_factory=dict)
    goals: dict[str, float] = field(default_factory=dict)
    """What a variant's ratio should reach."""
    notes: list[str] = field(default_factory=list)

    def add(self, variant: str, rate: float) -> None:
        self.rates.setdefault(variant, []).append(rate)

    def median(self, variant: str) -> float:
        return statistics.median(self.rates[variant])

    def ratios(self, variant: str) -> list[float]:
        pairs = zip(self.rates[variant], self.rates[self.baseline], strict=True)
        return [rate / base for rate, base in pairs]

    def as_json(self) -> dict[str, Any]:
        variants = {
            name: {
                "median": self.median(name),
                "rounds": rates,
                "ratio": statistics.median(self.ratios(name)),
                "ratio_min": min(self.ratios(name)),
                "ratio_max": max(self.ratios(name)),
                "goal": self.goals.get(name),
            }
            for name, rates in self.rates.items()
        }
        return {
            "case": self.name,
            "unit": self.unit,
            "baseline": self.baseline,
            "variants": variants,
            "notes": self.notes,
        }

    def table(self) -> str:
        """One line a variant: median rate, ratio to the baseline with its range, the goal."""
        width = max(map(len, self.rates))
        lines = [f"{self.name} ({self.unit}; ratio to {self.baseline}, {self._rounds()} rounds)"]
        for name in self.rates:
            ratios = self.ratios(name)
            goal = f"  goal {self.goals[name]:g}" if name in self.goals else ""
            lines.append(
                f"  {name:<{width}}  {self.median(name):>12,.1f}  x{statistics.median(ratios):.2f}"
                f"  ({min(ratios):.2f}-{max(ratios):.2f}){goal}"
            )
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def _rounds(self) -> int:
        return len(self.rates[self.baseline])


def interleave(case: Case, variants: Mapping[str, Callable[[], float]], rounds: int) -> Case:
    """Take each variant's rate in turn, `rounds` times; the order turns around each round."""
    names: Sequence[str] = list(variants)
    for number in range(rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            case.add(name, variants[name]())
    return case


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    import torch  # here, so that what measures a driver's memory does not have it

    return {
        "processor": _processor(),
        "cpus": torch.multiprocessing.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "commit": _commit(),
    }


def _version(library: str) -> str | None:
    """None where it is not installed: most cases need torch alone."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(library)
    return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor()


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""  # no git
    return done.stdout.strip()
