"""`check-data --data DIR < specs.json`: which of the trials' data sets cannot be used, and why.

A data set that can be fetched is fetched and prepared, once, as for training.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from trainer.commands import spec_json
from trainer.data import splits
from trainer.errors import TrainerError

HELP = (
    "Load the data of the trials in a JSON list on standard input; print a JSON list with a line "
    "for each that cannot be loaded."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the data lies."""
    parser.add_argument("--data", metavar="DIR", type=Path, default=Path("data"))


def run(given: argparse.Namespace) -> None:
    """Print what is wrong. Raises SpecError where the input is not a list of specs."""
    problems = []
    for spec in spec_json.read_specs():
        try:
            splits.load(spec, given.data)
        except TrainerError as error:
            problems.append(str(error))
    print(json.dumps(problems))
