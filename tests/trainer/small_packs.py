"""Packs of small trials, and what must not depend on a member's neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small_trials import numbers

from trainer.packs.members import Member, Outcome
from trainer.results import Result
from trainer.spec import TrialSpec
from trainer.train import Options, train


def pack(specs: list[TrialSpec], folder: Path, **extra: dict[int, Any]) -> list[Member]:
    """Members in folders 0, 1, …; `extra`: a field of some members, by number."""
    return [
        Member(
            spec,
            folder / str(number),
            **{name: values[number] for name, values in extra.items() if number in values},
        )
        for number, spec in enumerate(specs)
    ]


def bits(outcome: Outcome) -> list[Any]:
    """All numbers of a member that finished."""
    assert isinstance(outcome, Result), outcome
    return numbers(outcome)


def alone(spec: TrialSpec, folder: Path, options: Options) -> list[Any]:
    """The numbers of the trial by itself."""
    return numbers(train(spec, folder, options=options))


def before_step(step: int) -> Callable[[], bool]:
    """A poll that stops a trial before its step number `step` (from 0)."""
    counter = itertools.count()
    return lambda: next(counter) == step
