"""Trials of several processes: the bits of one, whoever dies on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from small_trials import digits, numbers, small

from trainer import checkpoint, own_code
from trainer.errors import OutOfMemory, RankLost, SpecError, Stopped
from trainer.ranks import crew
from trainer.results import RESULT, Result, parse
from trainer.spec import TrialSpec
from trainer.train import Options, train

STEPS = 4  # an epoch; the last batch of 8 images is less than one group
GROUPS: dict[str, Any] = {"bn_batch": 16}


@pytest.fixture(autouse=True)
def _nobody_is_left() -> Iterator[None]:
    yield
    assert not followers_of(os.getpid())


def followers_of(pid: int) -> list[psutil.Process]:
    """The living followers of a leader, by their numbers."""
    found = []
    for process in psutil.Process(pid).children():
        try:
            if "follow" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return sorted(found, key=lambda process: process.pid)


@pytest.mark.parametrize(
    ("count", "fields"),
    [
        (2, {"trainable": "all"}),
        (4, {"trainable": "bn_only", "optimizer": "adam", "lr": 0.001}),
        (4, {"trainable": "random_k", "k": 2, "precision": "bf16"}),
        (2, {"trainable": "output_only"}),
        (2, {"trainable": "nothing"}),
    ],
    ids=str,
)
def test_several_processes_have_the_bits_of_one(
    count: int, fields: dict[str, Any], tmp_path: Path, options: Options
) -> None:
    spec = small(**GROUPS, **fields)
    one = train(spec, tmp_path / "one", options=options)
    several = train(spec, tmp_path / "several", options=replace(options, processes=count))
    assert numbers(several) == numbers(one)
    assert (one.numerics["processes"], several.numerics["processes"]) == (1, count)


def test_the_groups_of_a_short_batch_are_shared_too(tmp_path: Path, options: Options) -> None:
    """1,437 digits: the last batch has 29 images, a group and a rest of 13."""
    spec = digits(batch_size=64, bn_batch=16, epochs=1, trainable="all")
    one = train(spec, tmp_path / "1", options=options)
    two = train(spec, tmp_path / "2", options=replace(options, processes=2, kernels="stock"))
    stock = train(spec, tmp_path / "stock", options=replace(options, kernels="stock"))
    assert numbers(two) == numbers(stock)
    assert numbers(one)[0] == numbers(two)[0]


def at_step(
    options: Options, step: int, act: Callable[[], None] | None = None, processes: int = 2
) -> Options:
    """Options under which, before update `step` (from 1), `act` is called, or a stop asked for."""
    done: list[int] = []

    def poll() -> bool:
        if len(done) != step:
            return False
        done.append(-1)
        if act:
            act()
        return act is None

    return replace(
        options, processes=processes, poll=poll, on_step=lambda *counts: done.append(counts[1])
    )


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 4)])
def test_a_trial_goes_on_with_another_number_of_processes(
    first: int, then: int, tmp_path: Path, options: Options
) -> None:
    spec = small(**GROUPS, trainable="bn_only", momentum=0.9)
    undisturbed = train(spec, tmp_path / "undisturbed", options=options)
    with pytest.raises(Stopped):
        train(spec, tmp_path / "a", options=at_step(options, STEPS + 2, processes=first))
    resume = checkpoint.find([tmp_path / "a"], spec)
    assert resume
    assert (resume.epoch, resume.step) == (1, 2)
    done = train(spec, tmp_path / "a", resume=resume, options=replace(options, processes=then))
    assert done.exact
    assert numbers(done) == numbers(undisturbed)


@pytest.mark.parametrize("victim", [1, 3])
def test_a_follower_killed_at_any_step_costs_the_attempt_and_no_bit(
    victim: int, tmp_path: Path, options: Options
) -> None:
    spec = small(**GROUPS)
    step = random.Random(victim).randrange(1, 2 * STEPS)
    kill = lambda: followers_of(os.getpid())[victim - 1].kill()  # noqa: E731
    with pytest.raises(RankLost, match=rf"rank {victim} \(process \d+\) ended with signal 9"):
        train(spec, tmp_path / "a", options=at_step(options, step, kill, processes=4))
    resume = checkpoint.find([tmp_path / "a"], spec)
    assert resume
    assert resume.epoch == step // STEPS
    done = train(spec, tmp_path / "a", resume=resume, options=replace(options, processes=2))
    assert done.exact
    assert numbers(done) == numbers(train(spec, tmp_path / "one", options=options))


def test_a_follower_killed_before_it_is_ready_is_noticed(tmp_path: Path, options: Options) -> None:
    def poll() -> bool:
        for follower in followers_of(os.getpid()):
            follower.kill()
        return False

    with pytest.raises(RankLost, match=r"rank 1 .* ended with signal 9"):
        train(small(**GROUPS), tmp_path, options=replace(options, processes=2, poll=poll))


def test_a_stop_before_the_followers_are_ready_waits_for_nobody(
    tmp_path: Path, options: Options
) -> None:
    with pytest.raises(Stopped):
        train(small(**GROUPS), tmp_path, options=at_step(options, 0))


def test_a_follower_that_hangs_is_killed(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "PATIENCE_S", 1.0)
    freeze = lambda: followers_of(os.getpid())[0].suspend()  # noqa: E731
    with pytest.raises(RankLost, match=r"rank 1 .* ended with signal 9"):
        train(small(**GROUPS), tmp_path, options=at_step(options, 3, freeze))


LED = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, "TESTS")
from small_trials import small
from trainer.train import Options, train

def stand(epoch, step, steps):
    if step == 2:
        print("here", flush=True)
        time.sleep(600)

options = Options(data=Path(sys.argv[1]), device="cpu", probes=(), processes=2, on_step=stand)
train(small(bn_batch=16), Path(sys.argv[1]), options=options)
""".replace("TESTS", str(Path(__file__).parents[1]))


def test_followers_die_with_their_leader_and_hear_no_signal_for_it(tmp_path: Path) -> None:
    leader = subprocess.Popen(
        [sys.executable, "-c", LED, tmp_path], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert leader.stdout
        assert leader.stdout.readline() == b"here\n"
        (follower,) = followers_of(leader.pid)
        for number in (signal.SIGINT, signal.SIGTERM):
            follower.send_signal(number)
        listening = [c for c in follower.net_connections() if c.status == psutil.CONN_LISTEN]
        assert {c.laddr.ip for c in listening} <= {"127.0.0.1", "::1"}
        time.sleep(0.5)
        assert follower.is_running()
    finally:
        leader.kill()
        leader.wait()
        leader.stdout.close()
    follower.wait(timeout=20)


NETWORK = """
import sys
import torch
from torch import nn
from trainer.extend import BatchNorm, conv, network, output

@network(depths=[1], sides=(8, 64), label="Tiny")
class Tiny(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 8, 3), BatchNorm(8, spec)
        self.drop = nn.Dropout(0.5)
        self.fc = output(8, spec)
        MORE

    def forward(self, images):
        FORWARD
        return self.fc(self.drop(self.bn1(self.conv1(images), relu=True).mean((2, 3))))
"""


def own(folder: Path, more: str = "pass", forward: str = "pass") -> tuple[TrialSpec, Path]:
    path = folder / "mine.py"
    path.write_text(NETWORK.replace("MORE", more).replace("FORWARD", forward))
    fields = {"model": "tiny", "depth": 1, "code_sha256": own_code.digest(path)}
    return small(**GROUPS, **fields), path


def test_units_dropped_in_own_networks_are_those_of_one_process(
    tmp_path: Path, options: Options
) -> None:
    spec, code = own(tmp_path)
    options = replace(options, code=code)
    one = train(spec, tmp_path / "1", options=options)
    assert numbers(train(spec, tmp_path / "2", options=replace(options, processes=2))) == numbers(
        one
    )


def test_a_follower_without_memory_ends_the_trial_as_one_process_would(
    tmp_path: Path, options: Options
) -> None:
    lack = "if 'follow' in sys.argv and self.training: raise MemoryError('no room')"
    spec, code = own(tmp_path, forward=lack)
    with pytest.raises(OutOfMemory, match="rank 1: no room"):
        train(spec, tmp_path / "a", options=replace(options, code=code, processes=2))


def test_another_error_of_a_follower_is_told_with_its_traceback(
    tmp_path: Path, options: Options
) -> None:
    spec, code = own(tmp_path, forward="if 'follow' in sys.argv: raise KeyError('mine')")
    with pytest.raises(RankLost, match=r"(?s)rank 1 .* exit code 1: .*KeyError: 'mine'"):
        train(spec, tmp_path / "a", options=replace(options, code=code, processes=2))


def test_a_network_that_is_not_the_same_everywhere_is_refused(
    tmp_path: Path, options: Options
) -> None:
    more = "self.scale = nn.Parameter(torch.full((8,), float('follow' in sys.argv)))"
    spec, code = own(tmp_path, more=more)
    with pytest.raises(RankLost, match="initial weights differ between two processes"):
        train(spec, tmp_path / "a", options=replace(options, code=code, processes=2))


def test_a_buffer_that_groups_may_change_in_turn_is_refused(
    tmp_path: Path, options: Options
) -> None:
    spec, code = own(tmp_path, more="self.register_buffer('mean_image', torch.zeros(1))")
    with pytest.raises(SpecError, match="processes: mean_image is a buffer outside of a norm"):
        train(spec, tmp_path / "a", options=replace(options, code=code, processes=2))


def test_processes_that_do_not_divide_the_groups_are_refused(
    tmp_path: Path, options: Options
) -> None:
    said = (
        "processes: 3 cannot share the 4 BatchNorm groups of a batch "
        r"\(64 images in groups of 16\); use 1, 2, 4 of them, or another bn_batch"
    )
    with pytest.raises(SpecError, match=said):
        train(small(**GROUPS), tmp_path, options=replace(options, processes=3))


def test_the_command_line_trains_with_several_processes(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(small(**GROUPS).model_dump_json())
    command = [sys.executable, "-m", "trainer", "train", tmp_path / "spec.json"]
    digests = []
    for count in ("1", "2"):
        out = tmp_path / count
        subprocess.run([*command, "--out", out, "--processes", count, "--probes"], check=True)
        result: Result = parse((out / RESULT).read_bytes())
        digests.append(result.digests["final"])
    assert digests[0] == digests[1]
