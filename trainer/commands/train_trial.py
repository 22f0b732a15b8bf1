"""`train SPEC.json --out DIR`: train one trial here, with no cluster and no tracker.

DIR is used like an attempt's folder; running the same command again resumes from its checkpoint.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer import checkpoint, extend, journal
from trainer.commands import spec_json
from trainer.errors import SpecError
from trainer.files import write_json
from trainer.probes import probes
from trainer.results import RESULT, SPEC
from trainer.spec import TrialSpec
from trainer.train import Options, train

HELP = "Train one trial. Run again to resume it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The trial, its folder, and the options that do not change what the trial is."""
    parser.add_argument("spec", metavar="SPEC.json", type=Path, help="the fields to set, as JSON")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="the trial's folder")
    parser.add_argument("--data", metavar="DIR", type=Path, default=Path("data"))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="changes bits: part of a result")
    parser.add_argument("--processes", type=int, default=1, help="that share BatchNorm groups")
    parser.add_argument("--decoders", type=int, default=2, help="processes that decode images")
    parser.add_argument(
        "--decoder", default="auto", choices=("auto", "pil", "torchcodec"), help="changes pixels"
    )
    parser.add_argument(
        "--kernels", default="auto", choices=("auto", "stock", "fused"), help="changes bits too"
    )
    parser.add_argument(
        "--graphs",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="on a GPU: each step as one CUDA graph",
    )
    parser.add_argument(
        "--pretrained", metavar="FILE", type=Path, help="for a spec with weights: pretrained"
    )
    parser.add_argument(
        "--code", metavar="PATH", type=Path, help="own code, for a spec with code_sha256"
    )
    parser.add_argument(
        "--probes", metavar="NAME", nargs="*", help="only these, the code's own too; none: nothing"
    )


def run(given: argparse.Namespace) -> None:
    """Train, printing a line for each epoch. Raises what `train` raises, and SpecError."""
    spec = spec_json.parse(spec_json.read(given.spec), given.spec)
    folder: Path = given.out
    _claim(folder, spec)
    if (folder / RESULT).exists():
        print(f"{spec.trial_id} is finished: {folder / RESULT}")
        return
    if given.threads < 1 or given.processes < 1 or given.decoders < 0:
        raise SpecError("--threads and --processes are at least 1 and --decoders at least 0")
    extend.use(given.code, spec.code_sha256)
    resume = checkpoint.find([folder], spec, given.pretrained)
    if resume:
        print(f"resuming {spec.trial_id} after epoch {resume.epoch}, step {resume.step}")
    options = Options(
        data=given.data.resolve(),
        device=given.device,
        threads=given.threads,
        processes=given.processes,
        decoders=given.decoders,
        decoder=given.decoder,
        graphs=given.graphs,
        kernels=given.kernels,
        pretrained=given.pretrained,
        code=given.code,
        probes=probes.ALL if given.probes is None else tuple(given.probes),
        poll=_stop_requests(),
        on_record=lambda record: print(journal.line_for_people(record, spec.epochs), flush=True),
    )
    result = train(spec, folder, resume=resume, options=options)
    print(f"{spec.trial_id}: {result.metrics['test/accuracy']:.2f} % in {result.seconds:.0f} s")


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


def _stop_requests() -> Callable[[], bool]:
    """The first SIGTERM or SIGINT asks for a stop at the next step; the second ends at once."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:  # noqa: ARG001
        asked.append(number)
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)
    return lambda: bool(asked)
