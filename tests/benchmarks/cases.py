"""The cases: each against its baseline in the same run."""

from __future__ import annotations

import io
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import step_parts
import stock
import torch
from measuring import Case, interleave
from servants import ALLOCATOR, Servant, rate_together
from stock import Clock

from trainer import checkpoint, freezing, journal
from trainer.checkpoint import Header
from trainer.data import splits
from trainer.journal import Record
from trainer.kernels import build, fused_norm
from trainer.learner import Learner
from trainer.packs.pack_training import Member, train_pack
from trainer.results import JOURNAL
from trainer.spec import TrialSpec
from trainer.train import Options

MODES = ("all", "bn_only", "output_only")
GOALS = {
    ("all", "fp32", "stock"): 1.5,
    ("bn_only", "fp32", "stock"): 1.6,
    ("output_only", "fp32", "stock"): 2.0,
    ("all", "bf16", "stock"): 2.2,
    ("bn_only", "bf16", "stock"): 2.7,
    ("output_only", "bf16", "stock"): 3.0,
    ("all", "bf16", "fused"): 3.0,
    ("bn_only", "bf16", "fused"): 4.0,
}


def cpu_training(
    root: Path, rounds: int, steps: int, depth: int = 14, one_core: bool = False
) -> Iterator[Case]:
    """The whole machine: one 1-thread trial a core against the stock loop with all threads.

    `one_core`: one thread each, images by CPU-second. For a machine with other work, where a loop
    with several threads would wait for each of them; it says nothing about scaling over cores.
    """
    cores = 1 if one_core else len(os.sched_getaffinity(0))
    theirs = [Servant(cores, cpu_time=one_core)]
    ours = [Servant(1, ALLOCATOR, cpu_time=one_core) for _ in range(cores)]
    unit = f"training images a {'CPU-second of a core' if one_core else 'second'}, with evaluation"
    try:
        for mode in MODES:
            case = Case(f"ResNet-{depth} {mode}", unit, "stock way")
            orders = {case.baseline: (theirs, ("stock", (depth, mode, root), steps))}
            for precision, form in itertools.product(("fp32", "bf16"), _kernels()):
                name = f"{cores} trial{'s' * (cores > 1)}, {precision}, {form} kernels"
                orders[name] = (ours, ("ours", (depth, mode, precision, form, root), steps))
                if depth == 14 and (mode, precision, form) in GOALS:
                    case.goals[name] = GOALS[mode, precision, form]
            yield interleave(
                case, {n: partial(rate_together, *o) for n, o in orders.items()}, rounds
            )
    finally:
        for servant in (*theirs, *ours):
            servant.close()


def _kernels() -> list[str]:
    return ["stock"] if build.problem() else ["stock", "fused"]


def data_path(root: Path, rounds: int, clock: Clock, batches: int = 20) -> Iterator[Case]:
    """Augmented batches of 128 on one thread, nothing else."""
    torch.set_num_threads(1)
    spec = TrialSpec()
    train_split = splits.load(spec, root).train
    ours = itertools.chain.from_iterable(train_split.batches(epoch) for epoch in itertools.count(1))
    theirs = stock.endless(stock.train_loader(root))
    next(ours), next(theirs)

    def rate(source: Iterator[Any], count: int) -> Callable[[], float]:
        def measure() -> float:
            start = clock()
            for _ in range(count):
                next(source)
            return count * stock.BATCH / (clock() - start)

        return measure

    case = Case("data path", "images/s", "torchvision and DataLoader", goals={"gather": 80})
    variants = {case.baseline: rate(theirs, batches), "gather": rate(ours, 10 * batches)}
    yield interleave(case, variants, rounds)


def checkpoints(rounds: int) -> Iterator[Case]:
    """A bn_only trial's checkpoint, fsynced and renamed, against torch.save of everything."""
    for depth in (14, 110):
        with tempfile.TemporaryDirectory() as folder:
            yield _checkpoint(depth, Path(folder), rounds)


def _checkpoint(depth: int, folder: Path, rounds: int, repeats: int = 5) -> Case:
    spec = TrialSpec(depth=depth, trainable="bn_only")
    learner = Learner(spec, torch.device("cpu"))
    case = Case(f"checkpoint, ResNet-{depth} bn_only", "saves/s", "torch.save")
    variants = {
        case.baseline: _repeated(lambda: _save_everything(learner, folder), repeats),
        "flat": _repeated(lambda: _save_flat(spec, learner, folder), repeats),
    }
    interleave(case, variants, rounds)
    full, flat = ((folder / name).stat().st_size for name in ("everything.pt", "checkpoint.pt"))
    case.notes.append(f"bytes: {full:,} and {flat:,} (1/{full / flat:.0f})")
    return case


def _repeated(action: Callable[[], None], repeats: int) -> Callable[[], float]:
    def measure() -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            action()
        return repeats / (time.perf_counter() - start)

    return measure


def _save_everything(learner: Learner, folder: Path) -> None:
    buffer = io.BytesIO()
    state = {"model": learner.model.state_dict(), "optimizer": learner.optimizer.buffers}
    torch.save(state, buffer)
    temporary = folder / "everything.tmp"
    with temporary.open("wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / "everything.pt")


def _save_flat(spec: TrialSpec, learner: Learner, folder: Path) -> None:
    header = Header(
        trial_id=spec.trial_id,
        epochs_done=1,
        step_in_epoch=0,
        step=391,
        seconds=1.0,
        started_ms=0,
        exact=True,
        numerics={},
        digests={},
        history=[],
    )
    checkpoint.save(
        folder,
        header,
        values=learner.flat.values,
        statistics=learner.flat.statistics,
        optimizer=learner.optimizer.buffers,
        losses=torch.zeros(0),
        hits=torch.zeros(0),
    )


def packs(
    root: Path, rounds: int, clock: Clock, images: int = 6400, largest: int = 32
) -> Iterator[Case]:
    """Output-only trials that share a forward pass, on one thread; training and evaluation."""
    common = {"trainable": "output_only", "epochs": 1, "train_subset": images}
    specs = [TrialSpec.model_validate({**common, "lr": 0.01 * (n + 1)}) for n in range(largest)]
    case = Case(
        "output_only packs",
        "training images/s, evaluation included",
        "1 trial",
        goals={"32 trials": 25},
    )
    variants = {
        f"{count} trial{'s' * (count > 1)}": lambda count=count: _pack_rate(
            specs[:count], root, clock
        )
        for count in (1, 8, largest)
    }
    yield interleave(case, variants, rounds)


def _pack_rate(specs: list[TrialSpec], root: Path, clock: Clock) -> float:
    """Images of all members a second, between the first member's first and last record."""
    times: list[float] = []
    options = Options(data=root, device="cpu", threads=1, probes=())
    with tempfile.TemporaryDirectory() as folder:
        listen = {"on_record": lambda _: times.append(clock())}
        members = [
            Member(spec, Path(folder) / str(n), **(listen if n == 0 else {}))
            for n, spec in enumerate(specs)
        ]
        outcomes = train_pack(members, options)
    assert not any(isinstance(outcome, Exception) for outcome in outcomes), outcomes
    return len(specs) * specs[0].train_subset / (times[-1] - times[0])


def parts(root: Path, rounds: int) -> Iterator[Case]:
    """What of a bn_only trial's time is not its steps: batches, and what an epoch's end writes."""
    torch.set_num_threads(1)
    spec = TrialSpec(trainable="bn_only", precision="bf16")
    split = splits.load(spec, root).train
    learner_kernels: fused_norm.Kernels = "stock" if build.problem() else "fused"
    learner = Learner(spec, torch.device("cpu"), learner_kernels)
    batches = itertools.chain.from_iterable(split.batches(epoch) for epoch in itertools.count(1))
    images, labels = next(batches)
    numbers = itertools.count()
    learner.model.train()
    learner.step(images, labels, 0.1, next(numbers))
    with tempfile.TemporaryDirectory() as folder:
        variants = {
            "step": _repeated(lambda: _drop(learner.step(images, labels, 0.1, next(numbers))), 10),
            "batch": _repeated(lambda: _drop(next(batches)), 50),
            "checkpoint": _repeated(lambda: _save_flat(spec, learner, Path(folder)), 3),
            "journal": _repeated(lambda: _append_record(Path(folder)), 3),
            "freeze proof": _repeated(
                lambda: _drop(freezing.prove(learner.initial, learner.model, learner.trained)), 3
            ),
        }
        case = Case("parts of ResNet-14 bn_only bf16, one thread", "1/s", "step")
        interleave(case, variants, rounds)
    step_s, batch_s = 1 / case.median("step"), 1 / case.median("batch")
    epoch_s = -(-split.count // spec.batch_size) * (step_s + batch_s)
    case.notes.append(
        f"data: {100 * batch_s / (step_s + batch_s):.2f} % of step and batch (goal 3)"
    )
    written_s = sum(1 / case.median(name) for name in ("checkpoint", "journal"))
    written_s += 1 / case.median("freeze proof") / spec.epochs
    case.notes.append(
        f"journal, checkpoint and proof: {100 * written_s / epoch_s:.3f} % of an epoch (goal 2)"
    )
    case.notes.extend(step_parts.lines(root, learner_kernels))
    yield case


def _append_record(folder: Path) -> None:
    metrics = dict.fromkeys(("train/loss", "train/accuracy", "test/loss", "lr"), 0.5)
    record = Record(seq=1, time_ms=1, step=391, epoch=1, attempt=1, metrics=metrics)
    journal.append(folder / JOURNAL, [record])


def _drop(value: object) -> None:
    del value
