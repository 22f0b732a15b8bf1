"""An ImageNet of 20,000 generated JPEGs, trained by two processes, killed, and gone on with by one.

A quarter of an hour: with `make soak` only (BNSWEEP_SOAK).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from harness import Harness
from PIL import Image

from orchestrator.store.store import Store

CLASSES, OF_EACH, TESTED = 100, 200, 10
TEXT = """
name: generated
base: {dataset: image_folder, data_id: generated, classes: 100, image_size: 64,
  model: imagenet_resnet, depth: 18, batch_size: 128, bn_batch: 32, epochs: 2, lr: 0.05}
axes: {trainable: [all]}
resources: {gpus: 0, processes: PROCESSES, checkpoint_every: 20s}
"""


def generate(root: Path) -> None:
    """Class folders of noise of a class's own colour, 200x150 pixels."""
    draw = np.random.default_rng(0)
    for number in range(CLASSES):
        colour = draw.integers(0, 256, 3)
        for part, count in (("train", OF_EACH), ("val", TESTED)):
            folder = root / part / f"n{number:03d}"
            folder.mkdir(parents=True)
            for image in range(count):
                coarse = draw.integers(-60, 61, (15, 20, 3)) + colour
                pixels = np.clip(coarse, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).resize((200, 150)).save(folder / f"{image}.jpg", quality=90)


@pytest.mark.skipif("BNSWEEP_SOAK" not in os.environ, reason="takes a quarter of an hour")
@pytest.mark.timeout(7200)
def test_a_generated_imagenet_killed_with_two_processes_goes_on_with_one(tmp_path: Path) -> None:
    generate(tmp_path / "images")
    harness = {count: Harness(tmp_path / str(count), text(count)) for count in (1, 2)}
    for one in harness.values():
        (one.folder / "data").mkdir()
        (one.folder / "data" / "generated").symlink_to(tmp_path / "images")
    try:
        undisturbed = harness[1].run("launch", str(harness[1].sweep), "-y", timeout_s=3600)
        assert undisturbed.returncode == 0, undisturbed.stderr
        print("one process:", spent(harness[1]))
        launched = harness[2].launch()
        harness[2].wait_for(
            lambda: launched.poll() is not None or in_second_epoch(harness[2]), timeout_s=3600
        )
        assert launched.poll() is None, harness[2].output()
        harness[2].kill_all(launched)
        harness[2].sweep.write_text(text(1))
        resumed = harness[2].run("launch", str(harness[2].sweep), "-y", timeout_s=3600)
        assert resumed.returncode == 0, resumed.stderr
        print("two processes, killed, then one:", spent(harness[2]))
        assert harness[2].digests() == harness[1].digests()
        assert list(map(len, map(harness[2].store.attempts, harness[2].trials))) == [2]
        assert harness[2].json("audit", "generated")["ok"]
    finally:
        for one in harness.values():
            one.close()


def text(processes: int) -> str:
    return TEXT.replace("PROCESSES", str(processes))


def in_second_epoch(harness: Harness) -> bool:
    """With a checkpoint within it, of updates that the first epoch's has not."""
    return any(
        (status := harness.store.state(trial)).epoch == 1 and (status.step or 0) > 60
        for trial in harness.store.trial_ids()
    )


def spent(harness: Harness) -> dict[str, object]:
    """What the trial says of itself."""
    (trial,) = harness.trials
    result = Store(harness.store.root).result(trial)
    assert result
    return {"seconds": result.seconds, "exact": result.exact, **result.metrics, "now": time.ctime()}
