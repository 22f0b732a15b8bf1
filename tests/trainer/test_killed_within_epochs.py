"""Checkpoints within an epoch: a trial that is killed there goes on from the last one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_packs import alone, bits, pack
from small_trials import numbers, small

from trainer import checkpoint, journal
from trainer.packs.pack_training import train_pack
from trainer.packs.streams import Streams
from trainer.results import JOURNAL
from trainer.spec import TrialSpec
from trainer.train import Options, train

EACH_STEP = 0.0
HEADS = [small(trainable="output_only", lr=lr) for lr in (0.1, 0.02, 0.05)]
MIXED = [small(), small(trainable="bn_only", seed=1, bn_batch=16), HEADS[0]]
STEPS = 4  # an epoch

KILLED = """
import os, signal, sys
from pathlib import Path

sys.path.insert(0, str(Path("TESTS")))
from small_packs import pack
from test_killed_within_epochs import EACH_STEP, FORMS

from trainer.train import Options

folder, form, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
specs, run = FORMS[form]
asked = iter(range(10**6))

def poll():
    if next(asked) == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return False

common = Options(
    data=folder, device="cpu", threads=1, probes=(), checkpoint_every_s=EACH_STEP
)
run(pack(specs, folder, poll={len(specs) - 1: poll}), common)
""".replace("TESTS", str(Path(__file__).parent))


def in_turns(members: list[Any], options: Options) -> list[Any]:
    outcomes = Streams(dict(enumerate(members)), options).run()
    return [outcomes[number] for number in range(len(members))]


FORMS: dict[str, tuple[list[TrialSpec], Any]] = {
    "alone": ([small(optimizer="adam", lr=0.001)], train_pack),
    "groups": ([small(trainable="bn_only", bn_batch=16)], train_pack),
    "shared forward": (HEADS, train_pack),
    "streams": (MIXED, in_turns),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_sigkill_within_an_epoch_costs_no_more_than_since_the_last_checkpoint(
    form: str, tmp_path: Path, options: Options
) -> None:
    at = STEPS + 3
    command = [sys.executable, "-c", KILLED, tmp_path, form, str(at)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    specs, run = FORMS[form]
    resumes = {n: checkpoint.find([tmp_path / str(n)], spec) for n, spec in enumerate(specs)}
    last = resumes[len(specs) - 1]
    assert last is not None
    assert (last.epoch, last.step) == (1, 2)
    again = run(pack(specs, tmp_path / "again", resume=resumes), options)
    for number, spec in enumerate(specs):
        assert bits(again[number]) == alone(spec, tmp_path / f"alone {number}", options)
        assert again[number].exact


def test_checkpoints_within_epochs_leave_journal_and_result_as_they_are(
    tmp_path: Path, options: Options
) -> None:
    spec = small()
    whole = train(spec, tmp_path / "whole", options=replace(options, checkpoint_every_s=None))
    often = train(spec, tmp_path / "often", options=replace(options, checkpoint_every_s=EACH_STEP))
    assert numbers(often) == numbers(whole)
    for name, result in (("whole", whole), ("often", often)):
        assert journal.read(tmp_path / name / JOURNAL) == result.history
    assert [record.epoch for record in often.history] == [0, 1, 2]


@pytest.mark.parametrize(
    ("every_s", "within"),
    [
        (None, []),
        (EACH_STEP, [1, 2, 3, 5, 6, 7]),
        (25.0, [3, 7]),  # the epoch's end is a checkpoint too, from which the time counts
        (1000.0, []),
    ],
)
def test_one_is_written_when_so_much_time_has_passed_since_the_last_one(
    every_s: float | None,
    within: list[int],
    tmp_path: Path,
    options: Options,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a clock on which each step takes ten seconds, and nothing else any time."""
    clock = [0.0]
    written: list[int] = []
    save = checkpoint.save

    def saved(folder: Path, header: checkpoint.Header, **tensors: Any) -> None:
        if header.step_in_epoch:
            written.append(header.step)
        save(folder, header, **tensors)

    def step_is_over(*_: int) -> None:
        clock[0] += 10.0

    monkeypatch.setattr(checkpoint, "save", saved)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    train(
        small(),
        tmp_path / "trial",
        options=replace(options, checkpoint_every_s=every_s, on_step=step_is_over),
    )
    assert written == within


def test_each_step_is_told_with_its_place_in_the_epoch(tmp_path: Path, options: Options) -> None:
    told: dict[int, list[tuple[int, ...]]] = {0: [], 1: []}
    listeners = {n: lambda *step, n=n: told[n].append(step) for n in told}
    train_pack(pack(HEADS[:2], tmp_path, on_step=listeners), options)
    steps = [(epoch, step, STEPS) for epoch in (1, 2) for step in range(1, STEPS + 1)]
    assert told == {0: steps, 1: steps}
