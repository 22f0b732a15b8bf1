"""What a follower is told by its leader, in a private folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from trainer.spec import TrialSpec

ORDER, READY, ERROR = "order.json", "ready", "reason.json"
"""Files in the folder: what to do; that it has its data and network; why it ended."""


class Order(BaseModel):
    """One rank's part of a trial; the fields are those of trainer.options."""

    model_config = ConfigDict(frozen=True)

    spec: TrialSpec
    rank: int
    size: int
    data: Path
    device: str
    threads: int
    decoders: int
    decoder: Literal["auto", "pil", "torchcodec"]
    kernels: Literal["auto", "stock", "fused"]
    """As the leader has them."""
    graph: bool
    code: Path | None = None
    pretrained: Path | None = None
