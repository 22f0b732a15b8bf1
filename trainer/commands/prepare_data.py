"""`prepare --data DIR < specs.json`: unpack archives, make copies that are read faster."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from trainer.commands import spec_json
from trainer.data import archives, image_folder, layouts, prepared_images
from trainer.data.decoders import Decoders
from trainer.data_sets import DATA_SETS
from trainer.errors import DataError
from trainer.spec import TrialSpec

HELP = (
    "For the trials in a JSON list on standard input: unpack ImageNet's archives in their folders "
    "of images, look at every image, and write the copy of their shorter side. Goes on where it "
    "was interrupted."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the data lies, and how much of the machine to use."""
    parser.add_argument("--data", metavar="DIR", type=Path, default=Path("data"))
    parser.add_argument("--decoders", type=int, default=2, help="processes that decode images")


def run(given: argparse.Namespace) -> None:
    """Print a line for what is done. Raises DataError, and SpecError for no list of specs."""
    for spec in spec_json.read_specs():
        if DATA_SETS[spec.dataset].storage == "folder":
            try:
                _prepare(spec, given.data, given.decoders)
            except OSError as error:
                raise DataError(f"{error.filename or given.data}: {error.strerror}") from error


def _prepare(spec: TrialSpec, root: Path, count: int) -> None:
    folder = image_folder.folder_of(spec, root)
    if folder.is_dir():
        archives.unpack(folder, _say)
    if prepared_images.find(spec, root):
        _say(f"{_copy(spec, root)}: is there already")
        return
    train, test = image_folder.scan(spec, root)
    _say(f"{folder}: {len(train.labels):,} training and {len(test.labels):,} test images")
    decoders = Decoders(count)
    digest = image_folder.digest((train, test), root, decoders)
    _say(f"{folder}: every image decodes")
    if spec.shorter_side:
        reduced = [replace(split, shorter_side=spec.shorter_side) for split in (train, test)]
        prepared_images.make(spec, root, (reduced[0], reduced[1]), digest, decoders, _say)


def _copy(spec: TrialSpec, root: Path) -> Path:
    return layouts.prepared_folder(root, spec.data_id or spec.dataset, spec.shorter_side)


def _say(line: str) -> None:
    print(line, flush=True)
