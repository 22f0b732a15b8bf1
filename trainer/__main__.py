"""`python -m trainer SPEC.json --out DIR`: train one trial here, with no cluster and no tracker.

DIR is used like an attempt's folder; running the same command again resumes from its checkpoint.
Exit codes: 0 finished, 1 failed, 2 the user's mistake, 4 stopped on request (resumable).
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer import checkpoint, journal
from trainer.errors import DataError, SpecError, Stopped, TrainerError
from trainer.files import write_json
from trainer.results import RESULT, SPEC
from trainer.spec import TrialSpec
from trainer.train import Options, train

FINISHED, FAILED, MISTAKE, STOPPED = 0, 1, 2, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        return _run(given)
    except TrainerError as error:
        if given.debug:
            raise
        print(error, file=sys.stderr)
        if isinstance(error, Stopped):
            return STOPPED
        return MISTAKE if isinstance(error, SpecError | DataError) else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="Train one trial. Run again to resume it.",
        epilog="Exit codes: 0 finished, 1 failed, 2 a mistake in what was given, 4 stopped.",
    )
    parser.add_argument("spec", metavar="SPEC.json", type=Path, help="the fields to set, as JSON")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="the trial's folder")
    parser.add_argument("--data", metavar="DIR", type=Path, default=Path("data"))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="changes bits: part of a result")
    parser.add_argument("--decoders", type=int, default=2, help="processes that decode images")
    parser.add_argument(
        "--kernels", default="auto", choices=("auto", "stock", "fused"), help="changes bits too"
    )
    parser.add_argument(
        "--graphs", action="store_true", help="on a GPU: each step as one CUDA graph (untested)"
    )
    parser.add_argument(
        "--pretrained", metavar="FILE", type=Path, help="for a spec with weights: pretrained"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _run(given: argparse.Namespace) -> int:
    spec = read_spec(given.spec)
    folder: Path = given.out
    _claim(folder, spec)
    if (folder / RESULT).exists():
        print(f"{spec.trial_id} is finished: {folder / RESULT}")
        return FINISHED
    if given.threads < 1 or given.decoders < 0:
        raise SpecError("--threads is at least 1 and --decoders at least 0")
    resume = checkpoint.find([folder], spec, given.pretrained)
    if resume:
        print(f"resuming {spec.trial_id} after epoch {resume.epoch}, step {resume.step}")
    options = Options(
        data=given.data.resolve(),
        device=given.device,
        threads=given.threads,
        decoders=given.decoders,
        graphs=given.graphs,
        kernels=given.kernels,
        pretrained=given.pretrained,
        poll=_stop_requests(),
        on_record=lambda record: print(journal.line_for_people(record, spec.epochs), flush=True),
    )
    result = train(spec, folder, resume=resume, options=options)
    print(f"{spec.trial_id}: {result.metrics['test/accuracy']:.2f} % in {result.seconds:.0f} s")
    return FINISHED


def read_spec(path: Path) -> TrialSpec:
    """The spec in a JSON file that holds the fields to set. Raises SpecError, a line a problem."""
    try:
        fields = json.loads(path.read_text())
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise SpecError(f"{path}: not JSON ({error})") from error
    try:
        return TrialSpec.model_validate(fields)
    except ValidationError as error:
        lines = (_problem(path, details) for details in error.errors())
        raise SpecError("\n".join(lines)) from error


def _problem(path: Path, details: Any) -> str:
    place = ".".join(str(part) for part in details["loc"])
    message = details["msg"].removeprefix("Value error, ")
    found = f" (found {details['input']!r})" if place else ""
    return f"{path}: {place + ': ' if place else ''}{message}{found}"


def _claim(folder: Path, spec: TrialSpec) -> None:
    """Refuse a folder that holds another trial."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / SPEC).exists():
            other = TrialSpec.model_validate_json((folder / SPEC).read_bytes(), strict=False)
            if other.trial_id != spec.trial_id:
                raise SpecError(f"--out: {folder} holds another trial, {other.trial_id}")
        else:
            write_json(folder / SPEC, spec)
    except OSError as error:
        raise SpecError(f"--out: {folder}: {error.strerror}") from error
    except ValidationError as error:
        raise SpecError(f"--out: {folder / SPEC} is not the spec of a trial") from error


def _stop_requests() -> Any:
    """The first SIGTERM or SIGINT asks for a stop at the next step; the second ends at once."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:  # noqa: ARG001
        asked.append(number)
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)
    return lambda: bool(asked)


if __name__ == "__main__":
    sys.exit(main())
