"""Trials of several processes beside one, and their exchange of gradients beside an all-reduce."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from measuring import Case, interleave
from servants import ALLOCATOR

from trainer import train
from trainer.errors import Stopped
from trainer.exchange import connected
from trainer.options import Options
from trainer.spec import TrialSpec

ROOT = Path(__file__).parents[2]
WARM = 4
SHARED: dict[str, Any] = {"trainable": "all", "dataset": "synthetic", "epochs": 1}
TRIALS: dict[str, dict[str, Any]] = {
    "ResNet-56, batch 128 in groups of 32": {
        **SHARED, "model": "cifar_resnet", "depth": 56, "image_size": 32, "classes": 10,
        "train_subset": 12_800, "batch_size": 128, "bn_batch": 32,
    },
    "ResNet-50 at 64 px, batch 64 in groups of 16": {
        **SHARED, "model": "imagenet_resnet", "depth": 50, "image_size": 64, "classes": 1000,
        "train_subset": 6_400, "batch_size": 64, "bn_batch": 16,
    },
}  # fmt: skip
VECTORS = {"ResNet-56": 855_770, "ResNet-18": 11_689_512, "ResNet-50": 25_557_032}


def cases(rounds: int, steps: int) -> Iterator[Case]:
    """Training images a second of one process on one thread, one on two, and two on one each; then
    exchanges a second of two processes."""
    for name, fields in TRIALS.items():
        case = Case(name, "images/s", "1 process", goals={"2 processes": 1.8})
        variants = {
            "1 process": lambda fields=fields: _rate(fields, 1, 1, steps),
            "1 process, 2 threads": lambda fields=fields: _rate(fields, 1, 2, steps),
            "2 processes": lambda fields=fields: _rate(fields, 2, 1, steps),
        }
        yield interleave(case, variants, rounds)
    for name, length in VECTORS.items():
        case = Case(f"exchange of {name}'s gradient", "exchanges/s", "all_reduce")
        moved = {}
        for _ in range(rounds):
            for variant, found in _exchanges(length).items():
                case.add(variant, 1 / found["seconds"])
                moved[variant] = found["bytes"]
        case.notes.append(
            "bytes over loopback for each: "
            + ", ".join(f"{variant} {count / 1e6:.1f} MB" for variant, count in moved.items())
        )
        yield case


def _rate(fields: dict[str, Any], processes: int, threads: int, steps: int) -> float:
    order = json.dumps([fields, processes, threads, steps])
    return float(_python("rate", order).communicate()[0])


def _exchanges(length: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        both = [_python("exchange", json.dumps([folder, rank, length])) for rank in (0, 1)]
        said = [process.communicate()[0] for process in both]
        found: dict[str, dict[str, float]] = json.loads(said[0])
        return found


def _python(*arguments: str) -> subprocess.Popen[str]:
    path = f"{ROOT}:{Path(__file__).parent}"
    environment = {**os.environ, **ALLOCATOR, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, __file__, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


# --- in processes of their own -------------------------------------------------------------------


@dataclass
class _Timer:
    """Stops a trial after its warm steps and `steps` more."""

    steps: int
    begun: float = 0.0
    ended: float = 0.0

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        if step == WARM:
            self.begun = time.perf_counter()
        if step == WARM + self.steps:
            self.ended = time.perf_counter()

    def poll(self) -> bool:
        return bool(self.ended)


def rate(fields: dict[str, Any], processes: int, threads: int, steps: int) -> None:
    spec, timer = TrialSpec.model_validate(fields), _Timer(steps)
    with tempfile.TemporaryDirectory() as folder:
        options = Options(
            data=Path(folder), device="cpu", threads=threads, processes=processes, probes=(),
            poll=timer.poll, on_step=timer.on_step,
        )  # fmt: skip
        try:
            train.train(spec, Path(folder) / "trial", options=options)
        except Stopped:
            print(spec.batch_size * steps / (timer.ended - timer.begun))


def exchange(folder: str, rank: int, length: int) -> None:
    torch.set_num_threads(1)
    vector, found = torch.ones(length), {}
    with connected(Path(folder), rank, 2, torch.device("cpu")) as ranks:

        def ours() -> None:
            assert ranks.whole(ranks.added(None, vector, 2), length)[-1] == 2

        for name, act in {
            "all_reduce": lambda: dist.all_reduce(vector.clone()),
            "ours": ours,
        }.items():
            act()
            dist.barrier()
            before, seconds = _loopback_bytes(), []
            for _ in range(10):
                begun = time.perf_counter()
                act()
                seconds.append(time.perf_counter() - begun)
            dist.barrier()
            found[name] = {
                "seconds": statistics.median(seconds),
                "bytes": (_loopback_bytes() - before) / 10,
            }
    print(json.dumps(found))


def _loopback_bytes() -> int:
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.strip().startswith("lo:"))


if __name__ == "__main__":
    {"rate": rate, "exchange": exchange}[sys.argv[1]](*json.loads(sys.argv[2]))
