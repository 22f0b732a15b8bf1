"""Trials of several processes through Ray: any of them killed, and their number changed."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest
from harness import Harness, kill
from processes import descendants

from orchestrator import settings
from orchestrator.launching.driver import InlineLauncher, launch
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec

TEXT = """
name: tiny
base: {model: cifar_resnet, depth: 8, dataset: synthetic, image_size: 8, train_subset: 512,
  batch_size: 32, bn_batch: 8, epochs: 6, lr: 0.02, crop_padding: 1}
axes: {trainable: [all, bn_only]}
resources: {gpus: 0, processes: PROCESSES}
"""


def text(processes: int) -> str:
    return TEXT.replace("PROCESSES", str(processes))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The final digests of the trials, each trained by one process in this one."""
    folder = tmp_path_factory.mktemp("one")
    spec = sweep_spec.parse(text(1), "tiny.yaml")
    here = settings.load(store=folder / "runs", data=folder / "data")
    assert launch(spec, here, InlineLauncher).exit_code == 0
    results = {t.trial_id: Store(here.store).result(t.trial_id) for t in spec.trials}
    return {name: result.digests["final"] for name, result in results.items() if result}


@pytest.fixture
def harness(tmp_path: Path):
    found = Harness(tmp_path, text(2))
    yield found
    found.close()


def followers(process) -> list[int]:
    """PIDs of the followers of a launch's trials."""
    return [
        pid
        for pid in descendants(process.pid)
        if b"\0follow\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def past_its_first_epoch(harness: Harness) -> bool:
    states = [harness.store.state(trial) for trial in harness.store.trial_ids()]
    return any(s.state == "running" and (s.epoch or 0) >= 1 for s in states)


def assert_complete(harness: Harness, undisturbed: dict[str, str]) -> None:
    assert harness.digests() == undisturbed
    audit = harness.json("audit", "tiny")
    assert audit["ok"], audit["checks"]


@pytest.mark.parametrize("victim", ["follower", "leader"])
def test_a_killed_rank_costs_the_attempt_and_no_bit(harness, undisturbed, victim):
    process = harness.launch()
    harness.wait_for(lambda: past_its_first_epoch(harness) and followers(process))
    pids = followers(process) if victim == "follower" else harness.workers()
    kill(pids[0], signal.SIGKILL)
    assert process.wait(timeout=240) == 0, harness.output()
    assert_complete(harness, undisturbed)
    results = [harness.store.result(trial) for trial in harness.trials]
    assert {result.numerics["processes"] for result in results} == {2}
    assert max(len(harness.store.attempts(trial)) for trial in harness.trials) == 2


def test_a_launch_stopped_at_once_leaves_nobody_and_goes_on_with_one_process(harness, undisturbed):
    process = harness.launch()
    harness.wait_for(lambda: past_its_first_epoch(harness) and followers(process))
    left = followers(process)
    assert harness.run("stop", "tiny", "--now").returncode == 0
    assert process.wait(timeout=120) == 4, harness.output()
    assert not [pid for pid in left if Path(f"/proc/{pid}").exists()]
    states = Counter(t["state"] for t in harness.json("status", "tiny")["trials"])
    assert states["running"] == 0
    harness.sweep.write_text(text(1))
    assert harness.run("launch", str(harness.sweep), "-y").returncode == 0
    assert_complete(harness, undisturbed)


def test_more_processes_than_cpus_are_refused_before_anything_starts(harness):
    done = harness.run("launch", str(harness.sweep), "-y", "--set", "resources.cpus=512")
    assert done.returncode == 2
    assert "1024" in done.stderr
    assert not list(harness.store.trial_ids())
