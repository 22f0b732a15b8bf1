"""`make bench`: run the benchmark cases and print a table; `--json` keeps the numbers.

Not a test: nothing here is asserted about time. The ratios are what to trust; see measuring.py.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cases
import gpu_kernels
import gpu_packs
import measuring
from measuring import Case

DATA = Path(os.environ.get("BNSWEEP_DATA") or "data")


def main() -> None:
    given = _arguments()
    chosen = _cases(given)
    found: list[Case] = []
    content = {"machine": measuring.machine(), "rounds": given.rounds, "cases": []}
    for name in given.only or chosen:
        for case in chosen[name]():
            print(case.table(), flush=True)
            found.append(case)
            if given.json:
                content["cases"] = [case.as_json() for case in found]
                given.json.write_text(json.dumps(content, indent=1))
    print(json.dumps(content["machine"], indent=1))


def _cases(given: argparse.Namespace) -> dict[str, Callable[[], Iterator[Case]]]:
    data, rounds = given.data.absolute(), given.rounds
    clock = time.process_time if given.one_core else time.perf_counter
    return {
        "data": lambda: cases.data_path(data, rounds, clock),
        "decoding": lambda: _decoding(given),
        "checkpoints": lambda: cases.checkpoints(rounds),
        "parts": lambda: cases.parts(data, rounds),
        "training": lambda: cases.cpu_training(
            data, rounds, given.steps, given.depth, given.one_core
        ),
        "packs": lambda: cases.packs(data, rounds, clock),
        "gpu_kernels": lambda: gpu_kernels.cases(rounds, given.depth),
        "gpu_packs": lambda: gpu_packs.cases(
            data, rounds, given.depth, given.precision, given.members
        ),
        "processes": lambda: _processes(given),
        "commands": lambda: _commands(given),
        "overhead": lambda: _overhead(given),
        "forwarder": lambda: _forwarder(given),
    }


def _decoding(given: argparse.Namespace) -> Iterator[Case]:
    import decoding  # imports torchvision, a second that other cases spare

    yield from decoding.cases(given.rounds, given.images)


def _processes(given: argparse.Namespace) -> Iterator[Case]:
    import ranks  # imports torch.distributed

    yield from ranks.cases(given.rounds, given.steps)


def _commands(given: argparse.Namespace) -> Iterator[Case]:
    import commands

    yield from commands.cases(given.rounds, given.stored)


def _overhead(given: argparse.Namespace) -> Iterator[Case]:
    import overhead

    yield from overhead.cases(given.rounds, given.trials)


def _forwarder(given: argparse.Namespace) -> Iterator[Case]:
    import forwarding  # imports mlflow, a second that other cases spare

    yield from forwarding.cases(given.rounds, given.runs, given.epochs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="benchmarks, each case beside its baseline")
    names = ("data", "decoding", "checkpoints", "parts", "training", "packs", "gpu_kernels")
    names += ("gpu_packs", "processes", "commands", "overhead", "forwarder")
    parser.add_argument("--only", nargs="+", choices=names, help="these cases (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=DATA, help="where CIFAR-10 is")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--steps", type=int, default=20, help="updates in a piece of training")
    parser.add_argument("--depth", type=int, default=14)
    parser.add_argument("--precision", default="fp32", help="of gpu_packs")
    parser.add_argument("--members", type=int, default=8, help="trials of a pack of gpu_packs")
    parser.add_argument(
        "--one-core", action="store_true", help="on one core, by CPU time: for a machine in use"
    )
    parser.add_argument("--images", type=int, default=512, help="JPEGs to be decoded")
    parser.add_argument("--stored", type=int, default=10_000, help="finished trials in a store")
    parser.add_argument("--trials", type=int, default=200, help="no-op trials")
    parser.add_argument("--runs", type=int, default=100, help="runs of the forwarder's backlog")
    parser.add_argument("--epochs", type=int, default=160, help="and their epochs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
