"""`bnsweep export`: the whole network of a finished trial for plain PyTorch.

The work needs torch, so the trainer does it in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.store.store import Store


def export(store: Store, trial_id: str, file: Path, pretrained: Path | None = None) -> str:
    """Write the network of a finished trial to `file`; returns a line that says what was written.

    `pretrained` is the weights file of a trial that began with one. Raises UserError where the
    trial has not finished or the trainer cannot rebuild its network.
    """
    status = store.state(trial_id)
    if status.state != "finished":
        raise UserError(
            f"trial {trial_id}: is {status.state}; only a finished trial can be exported"
        )
    file = file.absolute()
    if not file.parent.is_dir():
        raise UserError(f"{file}: there is no folder {file.parent}")
    folder = store.attempt_folder(trial_id, status.attempt)
    command = [sys.executable, "-m", "trainer.export", str(folder), str(file)]
    if pretrained:
        command += ["--pretrained", str(pretrained.absolute())]
    package = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise UserError(*(lines[-1:] or [f"trial {trial_id}: the export ended without a word"]))
    return done.stdout.strip()
