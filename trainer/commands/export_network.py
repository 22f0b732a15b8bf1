"""`export FOLDER FILE`: a trained network whole, for plain PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.errors import DataError
from trainer.export import export

HELP = "Write a trained network for plain PyTorch."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The attempt, the file to write, and the weights and the code that the trial began with."""
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a finished attempt's folder")
    parser.add_argument("file", metavar="FILE", type=Path, help="where to write the state dict")
    parser.add_argument("--pretrained", metavar="FILE", type=Path, help="what the trial began with")
    parser.add_argument("--code", metavar="PATH", type=Path, help="the trial's own code")


def run(given: argparse.Namespace) -> None:
    """Write the file and say how much it holds. Raises DataError."""
    try:
        state = export(given.folder, given.file, given.pretrained, given.code)
    except OSError as error:
        raise DataError(str(error)) from error
    elements = sum(tensor.numel() for tensor in state.values())
    print(f"{given.file}: {len(state)} tensors, {elements:,} numbers")
