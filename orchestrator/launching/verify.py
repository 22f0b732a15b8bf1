"""`bnsweep verify`: train a sample of finished trials again, one after another, and compare.

Each in a process of its own, in the way that its result records; nothing of the store changes but
for the certificate.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator import python_process
from orchestrator.errors import UserError
from orchestrator.store.store import Store
from trainer.results import RESULT
from trainer.spec import TrialSpec

Verdict = Literal["same", "differs", "not comparable", "not repeated"]


@dataclass(frozen=True)
class Repeated:
    """What training one trial again has shown."""

    trial_id: str
    verdict: Verdict
    """`not comparable`: computed otherwise than it was, on another kind of CPU, say. `not
    repeated`: it cannot be trained here."""
    detail: str
    """The first number that differs, or in what the ways to compute differ."""
    epochs: int = 0
    """How many were trained again."""
    seconds: float = 0.0


def drawn(
    store: Store, name: str, count: int, seed: int, only: Sequence[str] = ()
) -> list[TrialSpec]:
    """`count` of the sweep's finished trials, by lot; of `only` all that are finished.

    Raises UserError where none is finished.
    """
    launched = store.launched(name)
    finished = [spec for spec in launched if store.state(spec).state == "finished"]
    if only:
        finished = [spec for spec in finished if spec.trial_id in only]
    if not finished:
        what = "none of these trials" if only else "no trial"
        raise UserError(f"{name}: {what} is finished; there is nothing to train again")
    by_id = sorted(finished, key=lambda spec: spec.trial_id)
    return by_id if only else random.Random(seed).sample(by_id, min(count, len(by_id)))


def train_again(store: Store, spec: TrialSpec, data: Path, epochs: int = 0) -> Repeated:
    """Train the trial again, or its first `epochs`, and compare each number with the result's."""
    pretrained, code = store.weights_of(spec), store.code_of(spec)
    arguments: list[object] = ["--data", data, "--epochs", epochs]
    arguments += ["--pretrained", pretrained] if pretrained else []
    arguments += ["--code", code] if code else []
    result = store.trial_folder(spec.trial_id) / RESULT
    try:
        answer = python_process.ask("trainer", "repeat", result, *arguments)
    except UserError as error:
        return Repeated(spec.trial_id, "not repeated", str(error))
    return Repeated(spec.trial_id, *_judged(answer), answer["epochs"], answer["seconds"])


def verify(
    store: Store,
    name: str,
    specs: Sequence[TrialSpec],
    data: Path,
    *,
    epochs: int = 0,
    seed: int = 0,
    before: Callable[[int], None] = lambda _: None,
) -> tuple[list[Repeated], Path]:
    """Train each again; returns what was found and the certificate's file in the store.

    `before` is called with each one's index before it begins. `seed`: the lot, for the certificate.
    """
    found: list[Repeated] = []
    begun_ms = time.time_ns() // 1_000_000
    # A store that cannot be written says so before hours of training, and a kill loses one trial.
    kept = store.keep_certificate(name, certificate(name, found, seed, begun_ms))
    for index, spec in enumerate(specs):
        before(index)
        found.append(train_again(store, spec, data, epochs))
        store.keep_certificate(name, certificate(name, found, seed, begun_ms))
    return found, kept


def certificate(name: str, found: Sequence[Repeated], seed: int, time_ms: int) -> dict[str, Any]:
    """What a later reader must know to judge it. `time_ms`: when it was begun."""
    return {
        "version": 1,
        "sweep": name,
        "time_ms": time_ms,
        "host": socket.gethostname(),
        "seed": seed,
        "trials": [asdict(repeated) for repeated in found],
    }


def _judged(answer: dict[str, Any]) -> tuple[Verdict, str]:
    difference = str(answer["difference"])
    if not difference:
        return "same", ""
    if answer["comparable"]:
        by = "" if answer["same_code"] else "; the trainer's code has changed since"
        return "differs", difference + by
    then, now = answer["test_accuracy"]
    why = ", ".join(answer["unlike"]) or "a GPU, or a resume elsewhere"
    accuracy = f"test accuracy {now:.2f} %, was {then:.2f} %"
    return "not comparable", f"computed otherwise ({why}); {accuracy}"
