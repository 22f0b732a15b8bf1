"""`devices`: what the trainer would compute on here, as JSON."""

from __future__ import annotations

import argparse
import json

import torch

from trainer.kernels import build

HELP = "Print the GPUs that torch sees, and why the C++ kernel cannot be used (or null), as JSON."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: it is about this machine."""


def run(given: argparse.Namespace) -> None:  # noqa: ARG001
    """Print them."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    print(json.dumps({"gpus": gpus, "kernel_problem": build.problem() or None}))
