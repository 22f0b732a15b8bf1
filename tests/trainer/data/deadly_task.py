"""A task that ends whoever does it; alone here, since a decoder loads the module of its tasks."""

import os
import signal
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadly:
    shape: tuple[int, ...] = ()

    def run(self):
        os.kill(os.getpid(), signal.SIGKILL)
