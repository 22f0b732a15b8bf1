"""`describe [--code PATH] [--check] < specs.json`: what own code defines and its networks count."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from trainer.commands import spec_json
from trainer.describe import describe

HELP = (
    "Say as JSON what a user's code defines, and for each spec in a JSON list on standard input "
    "what its network counts. Mistakes in the code are part of the answer."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The code, and whether it is tried."""
    parser.add_argument("--code", metavar="PATH", type=Path, help="a .py file or a package folder")
    parser.add_argument("--check", action="store_true", help="train two steps of each network too")
    parser.add_argument(
        "--data", metavar="DIR", type=Path, help="with --check: read the data sets of the code"
    )


def run(given: argparse.Namespace) -> None:
    """Print the description. Raises SpecError where the input is not a list."""
    fields = spec_json.read_list()
    with redirect_stdout(sys.stderr):  # what the code prints is no answer
        answer = describe(given.code, fields, check=given.check, data=given.data)
    print(json.dumps(answer))
