"""`bnsweep export`: the whole network of a finished trial for plain PyTorch."""

from __future__ import annotations

from pathlib import Path

from orchestrator import python_process
from orchestrator.errors import UserError
from orchestrator.store.store import Store


def export(store: Store, trial_id: str, file: Path, pretrained: Path | None = None) -> str:
    """Write the network of a finished trial to `file`; returns a line that says what was written.

    `pretrained` is the weights file of a trial that began with one, where the store's copy of it
    is gone. Raises UserError where the trial has not finished or the trainer cannot rebuild its
    network.
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
    spec = store.spec(trial_id)
    pretrained = pretrained or (store.weights_of(spec) if spec else None)
    weights = ["--pretrained", pretrained.absolute()] if pretrained else []
    code = store.code_of(spec) if spec else None
    own = ["--code", code] if code else []
    return python_process.run("trainer", "export", folder, file, *weights, *own)
