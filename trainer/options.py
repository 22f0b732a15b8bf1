"""How to train: where, with what, and whom to tell. Nothing here changes what a trial is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.journal import Record
from trainer.kernels import fused_norm
from trainer.probes import probes


@dataclass(frozen=True)
class Options:
    """The defaults suit a trial on its own; a worker gives each of its trials its own `poll`."""

    data: Path = Path("data")
    device: str = "auto"
    threads: int = 1
    processes: int = 1
    """So many share the BatchNorm groups of each step, on a GPU each, or on `threads` each of the
    CPU. It changes no bit; recorded in `numerics`."""
    decoders: int = 2
    """Processes that decode images, where the data is a folder of them."""
    decoder: Literal["auto", "pil", "torchcodec"] = "auto"
    """What they decode with; recorded in `numerics`."""
    kernels: fused_norm.Kernels = "auto"
    """`fused` needs a C++ compiler on the CPU, and Triton on a GPU; `auto` takes it where it
    can and pays (see `fused_norm.choose`). Recorded in `numerics`."""
    graphs: bool = True
    """On a GPU, replay each step as one CUDA graph, if it proves to repeat the step."""
    code: Path | None = None
    """The user's own code that a spec names by `code_sha256`."""
    pretrained: Path | None = None
    """The file of weights that a spec with `weights: pretrained` names by its sha256."""
    initial_weights: Path | None = None
    """A folder for copies of initial weights, each once for all trials that begin with them and
    link to it. None: each trial's folder holds its own."""
    checkpoint_every_s: float | None = 600.0
    """So long after the last checkpoint another one is written within an epoch, between two steps;
    None: at the ends of epochs only."""
    poll: Callable[[], bool] = lambda: False
    """Asked before each step. True: write a checkpoint there and raise Stopped."""
    probes: tuple[str, ...] = probes.ALL
    """What to measure inside the network after training, the code's own by name or all as `own`;
    empty: nothing."""
    on_record: Callable[[Record], None] = lambda record: None  # noqa: ARG005
    on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None  # noqa: ARG005
    """Told after each step: the epoch under way (from 1), updates done in it, and all it has."""

    def decoders_of(self, rank: int) -> int:
        """How many of the `decoders` one of the processes has; at least one, if there are any."""
        share, left = divmod(self.decoders, self.processes)
        return max(share + (rank < left), min(1, self.decoders))


DEFAULT = Options()
