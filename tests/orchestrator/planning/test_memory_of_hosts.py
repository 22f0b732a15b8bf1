"""The host memory that a worker is planned to take, beside what a process really takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.planning.host_memory import GB, host_bytes
from trainer.spec import TrialSpec

ROOT = Path(__file__).parents[3]
SMALL = TrialSpec(
    depth=8, dataset="synthetic", image_size=32, train_subset=256, batch_size=128, epochs=1
)
LARGE = SMALL.changed(depth=14, width=2, batch_size=256)


@pytest.mark.parametrize("spec", [SMALL, LARGE], ids=["small", "large"])
def test_a_trial_on_a_cpu_takes_no_more_than_planned_and_not_much_less(spec, tmp_path):
    file = tmp_path / "spec.json"
    file.write_text(spec.model_dump_json())
    trial = [sys.executable, "-m", "trainer", str(file), "--out", str(tmp_path / "out")]
    program = (
        "import json, resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr)\n"
        "print(json.dumps(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *trial, "--data", str(tmp_path), "--device", "cpu"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    taken = json.loads(done.stdout) * 1024
    planned = host_bytes([spec], on_gpu=False)
    assert planned / 2.5 < taken < planned  # what Ray's worker adds is in the plan, too


def test_on_a_gpu_the_tensors_are_not_the_hosts():
    wide = SMALL.changed(width=16)
    assert host_bytes([wide], on_gpu=True) == host_bytes([SMALL], on_gpu=True)
    assert host_bytes([wide], on_gpu=False) > host_bytes([SMALL], on_gpu=False) + GB / 5


def test_each_process_of_a_trial_has_its_own_and_decoders_come_once():
    cifar = TrialSpec(depth=8, width=1)
    assert host_bytes([cifar], on_gpu=False, processes=2) == 2 * host_bytes([cifar], on_gpu=False)
    imagenet = TrialSpec(model="imagenet_resnet", depth=18, dataset="imagenet", epochs=90)
    alone, decoded = (host_bytes([imagenet], on_gpu=True, decoders=n) for n in (0, 10))
    assert decoded == alone + 2 * GB


def test_the_images_that_lie_in_memory_are_counted_padded():
    digits, cifar = TrialSpec(depth=8, dataset="digits"), TrialSpec(depth=8)
    images = 3 * (50_000 * 40**2 + 10_000 * 32**2)
    few = host_bytes([digits], on_gpu=True)
    assert host_bytes([cifar], on_gpu=True) - few == pytest.approx(images, rel=0.01)


def test_trials_that_share_a_forward_pass_share_its_memory():
    heads = [SMALL.changed(trainable="output_only", lr=rate) for rate in (0.1, 0.2)]
    assert host_bytes(heads, on_gpu=False) == host_bytes(heads[:1], on_gpu=False)
    seeds = [SMALL.changed(seed=seed) for seed in range(2)]
    assert host_bytes(seeds, on_gpu=False) > host_bytes(seeds[:1], on_gpu=False)
