"""`bnsweep prepare`. Imports neither torch nor Ray nor MLflow."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator import machine, settings
from orchestrator.cli import options, screen
from orchestrator.launching import data_check
from orchestrator.sweep import sweep_spec

EXAMPLES = (
    "bnsweep prepare sweeps/imagenet_depth.yaml",
    "bnsweep prepare sweeps/imagenet_depth.yaml --set shorter_side=256",
)


def prepare(
    sweep_file: options.SweepFile,
    overrides: options.Overrides = [],  # noqa: B006  # typer copies it
    decoders: Annotated[
        int | None,
        typer.Option("--decoders", min=1, help="Processes that decode images [one for each CPU]."),
    ] = None,
    data_folder: options.DataFolder = None,
) -> None:
    """Make the folders of images that a sweep needs ready for training.

    ImageNet's archives in them are unpacked, every image is looked at, and where the sweep sets
    shorter_side, a copy with images of that size is written, which trains faster. Interrupted, the
    same command goes on.
    """
    sweep = sweep_spec.load(sweep_file, overrides, data=data_folder)
    where = settings.load(data=data_folder)
    folders = data_check.folders(sweep.trials)
    if not folders:
        screen.show(f"{sweep.name}: needs no folder of images")
    for line in data_check.prepare(folders, where.data, decoders or machine.cpu_count()):
        screen.show(line)
