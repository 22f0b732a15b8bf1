"""Trials that share a GPU as a pack on streams; needs one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from measuring import Case, interleave

from trainer.data import in_memory
from trainer.errors import DataError
from trainer.kernels import fused_norm
from trainer.packs.pack_training import Member, train_pack
from trainer.results import Result
from trainer.spec import TrialSpec
from trainer.train import Options

IMAGES = 12_800


def cases(root: Path, rounds: int, depth: int, precision: str, members: int = 8) -> Iterator[Case]:
    """Trials one after another, eager and with recorded steps, and a pack of them on streams."""
    if not torch.cuda.is_available():
        print("gpu_packs: left out, torch sees no GPU here")
        return
    images, note = _images(root)
    for mode in ("all", "bn_only"):
        common = {"depth": depth, "trainable": mode, "precision": precision, "epochs": 3, **images}
        specs = [TrialSpec.model_validate({**common, "seed": seed}) for seed in range(members)]
        case = Case(
            f"{members} trials on a GPU, ResNet-{depth} {mode} {precision}",
            "training images/s of all, evaluation included",
            "one after another, graphed",
            goals={"on streams, graphed": 2},
        )
        variants = {
            "one after another, eager": partial(_rate, specs, root, together=False, graphs=False),
            case.baseline: partial(_rate, specs, root, together=False, graphs=True),
            "on streams, eager": partial(_rate, specs, root, together=True, graphs=False),
            "on streams, graphed": partial(_rate, specs, root, together=True, graphs=True),
            "on streams, graphed, fused": partial(
                _rate, specs, root, together=True, graphs=True, kernels="fused"
            ),
        }
        interleave(case, variants, rounds)
        ours, eager = map(case.median, ("on streams, graphed", "one after another, eager"))
        case.notes += [f"on streams, graphed: x{ours / eager:.2f} of eager (goal 10)", note]
        yield case


def _images(root: Path) -> tuple[dict[str, str | int], str]:
    """Fields of a spec that choose a quarter of CIFAR-10, or as many images where it is missing."""
    try:
        in_memory.arrays(TrialSpec(), root)
    except DataError:
        note = "synthetic images, of which 256 are for testing: no CIFAR-10 here"
        return {"dataset": "synthetic", "train_subset": IMAGES}, note
    return {"train_subset": IMAGES}, "CIFAR-10"


def _rate(
    specs: Sequence[TrialSpec],
    root: Path,
    together: bool,
    graphs: bool,
    kernels: fused_norm.Kernels = "stock",
) -> float:
    """Images a second, between the first record (before training) and the last of each pack."""
    options = Options(data=root, device="cuda", graphs=graphs, kernels=kernels, probes=())
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number, part in enumerate([specs] if together else [[spec] for spec in specs]):
            seconds += _seconds(part, Path(folder) / str(number), options)
    return len(specs) * specs[0].epochs * IMAGES / seconds


def _seconds(specs: Sequence[TrialSpec], folder: Path, options: Options) -> float:
    times: list[float] = []
    members = [
        Member(spec, folder / str(n), on_record=lambda _: times.append(time.perf_counter()))
        for n, spec in enumerate(specs)
    ]
    for outcome in train_pack(members, options):
        assert isinstance(outcome, Result), outcome
        assert outcome.numerics["packed"] == len(specs)
        assert outcome.numerics["graph"] == options.graphs, "no graph could be recorded"
    return times[-1] - times[0]
