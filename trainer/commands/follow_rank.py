"""`follow FOLDER`: one of several processes of a trial, started by their leader."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.ranks import follower

HELP = "Train along as one of a trial's processes. Started by the trainer itself."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder with the leader's order."""
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="with the leader's order")


def run(given: argparse.Namespace) -> None:
    """Train along. Raises TrainerError, which the leader has been told, too."""
    follower.follow(given.folder)
