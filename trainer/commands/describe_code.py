"""`describe [--code PATH] [--check] < specs.json`: what own code defines and its networks count."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import chdir, redirect_stdout
from pathlib import Path

from trainer import write_guard
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
    parser.add_argument(
        "--store", metavar="DIR", type=Path, help="the code is not to write below this folder"
    )
    parser.add_argument(
        "--here", metavar="DIR", type=Path, default=Path(), help="the folder to work in"
    )


def run(given: argparse.Namespace) -> None:
    """Print the description. Raises SpecError where the input is not a list."""
    fields = spec_json.read_list()
    code, data = (path and path.absolute() for path in (given.code, given.data))
    os.environ.pop("BNSWEEP_STORE", None)
    if given.store:
        write_guard.forbid(given.store, data)
    # What the code prints is no answer, and what it writes beside itself is nobody's.
    with redirect_stdout(sys.stderr), chdir(given.here):
        answer = describe(code, fields, check=given.check, data=data)
    print(json.dumps(answer))
