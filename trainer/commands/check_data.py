"""`check-data --data DIR < specs.json`: which of the trials' data sets cannot be used, and why.

A data set that can be fetched is fetched and prepared, once, as for training.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from trainer.commands import spec_json
from trainer.data import splits
from trainer.errors import SpecError, TrainerError

HELP = (
    "Load the data of the trials in a JSON list on standard input; print a JSON list with a line "
    "for each that cannot be loaded."
)
_SOURCE = "standard input"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the data lies."""
    parser.add_argument("--data", metavar="DIR", type=Path, default=Path("data"))


def run(given: argparse.Namespace) -> None:
    """Print what is wrong. Raises SpecError where the input is not a list of specs."""
    fields = spec_json.decode(sys.stdin.read(), _SOURCE)
    if not isinstance(fields, list):
        raise SpecError(f"{_SOURCE}: not a list of specs")
    problems = []
    for spec in [spec_json.parse(each, _SOURCE) for each in fields]:
        try:
            splits.load(spec, given.data)
        except TrainerError as error:
            problems.append(str(error))
    print(json.dumps(problems))
