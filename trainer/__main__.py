"""`python -m trainer COMMAND`: train one trial, or ask what only the trainer knows.

Each command is a module of `trainer.commands`. Without a command's name it is `train`.
Exit codes: 0 done, 1 failed, 2 the user's mistake, 4 stopped on request (resumable).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Protocol

from trainer.commands import (
    check_data,
    check_weights,
    describe_code,
    devices,
    export_network,
    follow_rank,
    prepare_data,
    repeat_trial,
    train_trial,
)
from trainer.errors import DataError, SpecError, Stopped, TrainerError

DONE, FAILED, MISTAKE, STOPPED = 0, 1, 2, 4


class Command(Protocol):
    """What a module of `trainer.commands` has."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's own arguments."""

    def run(self, given: argparse.Namespace) -> None:
        """Do it and print the answer. Raises TrainerError."""


COMMANDS: dict[str, Command] = {
    "train": train_trial,
    "check-data": check_data,
    "check-weights": check_weights,
    "describe": describe_code,
    "devices": devices,
    "export": export_network,
    "follow": follow_rank,
    "prepare": prepare_data,
    "repeat": repeat_trial,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code. An error is one line on standard error."""
    given = _parser().parse_args(_with_command(sys.argv[1:] if arguments is None else arguments))
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        COMMANDS[given.command].run(given)
        return DONE
    except TrainerError as error:
        if given.debug:
            raise
        print(error, file=sys.stderr)
        if isinstance(error, Stopped):
            return STOPPED
        return MISTAKE if isinstance(error, SpecError | DataError) else FAILED


def _with_command(arguments: Sequence[str]) -> list[str]:
    """`train` in front where the first argument is its own: `python -m trainer SPEC.json …`."""
    first = next(iter(arguments), "--help")
    return [*arguments] if first in (*COMMANDS, "-h", "--help") else ["train", *arguments]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="Train one trial, or ask what only the trainer knows. Without COMMAND: train.",
        epilog="Exit codes: 0 done, 1 failed, 2 a mistake in what was given, 4 stopped.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        own = commands.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(own)
        own.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
