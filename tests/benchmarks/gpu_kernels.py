"""Steps on a GPU: our kernel and graphs beside stock operators and torch.compile."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from measuring import Case, interleave
from stock import BATCH

from trainer import numerics
from trainer.errors import SpecError
from trainer.kernels import fused_norm
from trainer.learner import Learner
from trainer.spec import TrialSpec

MODES = ("bn_only", "all")


def cases(rounds: int, depth: int = 14, steps: int = 200) -> Iterator[Case]:
    """One case for each mode and precision: launched kernel by kernel, as a CUDA graph of ours, and
    as torch.compile makes it (`reduce-overhead`: its own kernels in its own graphs)."""
    if not torch.cuda.is_available():
        print("gpu_kernels: left out, torch sees no GPU here")
        return
    device = torch.device("cuda")
    try:
        fused_norm.choose("fused", device)
    except SpecError as error:
        print(f"gpu_kernels: left out, {error}")
        return
    for mode, precision in itertools.product(MODES, ("fp32", "bf16")):
        spec = TrialSpec(depth=depth, trainable=mode, precision=precision, batch_size=BATCH)
        name = f"ResNet-{depth} {mode} {precision} on {torch.cuda.get_device_name(device)}"
        case = Case(name, "training images/s, steps alone", "stock kernels, eager")
        with numerics.settings(spec, threads=1):
            variants = {
                f"{kernels} kernels, {how}": _rate(spec, device, kernels, how, steps)
                for how, kernels in itertools.product(("eager", "graph"), ("stock", "fused"))
            }
            variants["torch.compile"] = _rate(spec, device, "stock", "compiled", steps)
            yield interleave(case, variants, rounds)


def _rate(
    spec: TrialSpec, device: torch.device, kernels: fused_norm.Kernels, how: str, steps: int
) -> Callable[[], float]:
    """Measures images a second over `steps` updates on one batch, warm, the device waited for."""
    learner = Learner(spec, device, kernels)
    learner.model.train()
    if how == "graph" and not learner.record_graph():
        raise RuntimeError(f"the step with {kernels} kernels could not be recorded as a graph")
    if how == "compiled":
        learner.model.compile(mode="reduce-overhead")
    images = torch.randn(BATCH, 32, 32, 3, device=device).permute(0, 3, 1, 2)
    labels = torch.arange(BATCH, device=device) % 10
    step = partial(learner.step, images, labels, 0.01)
    for number in range(10):
        step(number)
    numbers = itertools.count(10)

    def measure() -> float:
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(steps):
            step(next(numbers))
        torch.cuda.synchronize(device)
        return steps * BATCH / (time.perf_counter() - start)

    return measure
