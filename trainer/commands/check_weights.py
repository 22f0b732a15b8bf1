"""`check-weights [--code PATH] < checks.json`: which files of weights do not fit their networks."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from trainer import extend, own_code
from trainer.commands import spec_json
from trainer.errors import TrainerError
from trainer.weights import initial

HELP = (
    "Compare weights files with networks, by name and shape: for each `file` and `spec` in a JSON "
    "list on standard input. Print a JSON list with what is wrong with each, or null."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The code that may define the networks."""
    parser.add_argument("--code", metavar="PATH", type=Path, help="a .py file or a package folder")


def run(given: argparse.Namespace) -> None:
    """Print what is wrong. Raises SpecError where the input is not a list of specs."""
    problems: list[str | None] = []
    with redirect_stdout(sys.stderr):  # what a user's code prints is no answer
        if given.code:
            extend.use(given.code, own_code.digest(given.code))
        for check in spec_json.read_list():
            spec = spec_json.parse(check["spec"], "standard input")
            try:
                initial.check_weights(spec, Path(check["file"]))
                problems.append(None)
            except TrainerError as error:
                problems.append(str(error))
    print(json.dumps(problems))
