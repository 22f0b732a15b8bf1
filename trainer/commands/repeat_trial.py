"""`repeat RESULT.json --data DIR`: train a finished trial again, and compare each number.

The same numbers are promised where it is computed in the same way (numerics.repeats); elsewhere the
comparison says in what the two ways differ.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from sys import stderr
from typing import Any

from trainer import checkpoint, files, numerics, results
from trainer.errors import SpecError, Stopped
from trainer.journal import Record
from trainer.results import Result
from trainer.train import Options, train

HELP = "Train a finished trial again, or its first epochs, and compare. Print the answer as JSON."

_TIMED = "images_per_second"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The result, and what it needs; how it was computed stands in it."""
    parser.add_argument("result", metavar="RESULT.json", type=Path)
    parser.add_argument("--data", metavar="DIR", type=Path, default=Path("data"))
    parser.add_argument("--epochs", type=int, default=0, help="only so many; 0: all")
    parser.add_argument("--pretrained", metavar="FILE", type=Path)
    parser.add_argument("--code", metavar="PATH", type=Path)


def run(given: argparse.Namespace) -> None:
    """Print a JSON object. Raises what `train` raises, and SpecError."""
    try:
        result = results.parse(files.read(given.result))
    except (OSError, ValueError) as error:
        raise SpecError(f"{given.result}: no whole result ({error})") from error
    if given.epochs < 0:
        raise SpecError(f"--epochs: found {given.epochs}; allowed: 0 (all) or more")
    begun = time.perf_counter()
    with redirect_stdout(stderr), tempfile.TemporaryDirectory(prefix="bnsweep-repeat-") as folder:
        again = _train_again(result, Path(folder), given)
    print(json.dumps({**compare(result, again), "seconds": time.perf_counter() - begun}))


@dataclass(frozen=True)
class Again:
    """What training again has given: records, digests and how it was computed."""

    history: Sequence[Record]
    digests: dict[str, str]
    numerics: dict[str, Any]


def compare(result: Result, again: Again) -> dict[str, Any]:
    """Whether each number that both have is the same, and the first that is not."""
    before, now = result.numerics, again.numerics
    return {
        "trial_id": result.trial_id,
        "epochs": again.history[-1].epoch,
        "all_epochs": result.epochs,
        "comparable": numerics.repeats(before, now) and result.exact,
        "difference": _first_difference(result, again),
        "unlike": numerics.unlike(before, now),
        "same_code": result.digests.get("code") == again.digests.get("code"),
        "test_accuracy": [
            record.metrics.get("test/accuracy")
            for record in (result.history[len(again.history) - 1], again.history[-1])
        ],
    }


def _train_again(result: Result, folder: Path, given: argparse.Namespace) -> Again:
    before, records = result.numerics, list[Record]()
    until = given.epochs or result.epochs
    options = Options(
        data=given.data.resolve(),
        device=before["device"],
        threads=before["threads"],
        kernels=before["kernels"],
        graphs=before.get("graph", False),
        decoder=_decoder(before),
        pretrained=given.pretrained,
        code=given.code,
        on_record=records.append,
        poll=lambda: bool(records) and records[-1].epoch >= until,
    )
    try:
        trained = train(result.spec, folder, options=options)
    except Stopped:  # by `poll`, after the last epoch that was asked for
        stopped = checkpoint.find([folder], result.spec, given.pretrained)
        assert stopped is not None  # it has just been written
        return Again(stopped.history, stopped.header.digests, stopped.header.numerics)
    return Again(trained.history, trained.digests, trained.numerics)


def _decoder(before: dict[str, Any]) -> Any:
    """`torchcodec` or `pil`, as the trial's images were decoded; older records name none."""
    return "torchcodec" if "torchcodec" in str(before.get("decoder", "")) else "pil"


def _first_difference(result: Result, again: Again) -> str:
    """The first number that differs, for a person; empty where none does."""
    for name in ("data", "initial"):
        if result.digests[name] != again.digests[name]:
            return f"{name}: other bits"
    for before, now in zip(result.history, again.history, strict=False):
        for metric in (*before.metrics, *(now.metrics.keys() - before.metrics.keys())):
            then, there = before.metrics.get(metric), now.metrics.get(metric)
            if metric != _TIMED and not results.same_number(then, there):
                return f"epoch {now.epoch}: {metric} was {then}, is {there}"
    if "final" in again.digests and result.digests["final"] != again.digests["final"]:
        return "final weights: other bits"
    return ""
