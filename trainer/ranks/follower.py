"""A follower: its leader's steps, on groups of its own. It writes nothing of the trial's."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import torch

from trainer import extend, numerics, optim
from trainer.data import splits
from trainer.errors import TrainerError
from trainer.evaluate import batch_sums
from trainer.exchange import Connected, connected
from trainer.files import write_json
from trainer.learner import Learner
from trainer.ranks.order import ERROR, ORDER, READY, Order
from trainer.ranks.state import Position, share_state


def follow(folder: Path) -> None:
    """Do the order in `folder` until the trial's last epoch, or until the leader is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a stop is the leader's, which then ends us
    threading.Thread(target=_end_with_leader, daemon=True).start()
    order = Order.model_validate_json((folder / ORDER).read_bytes(), strict=False)
    with _errors_told(folder):
        extend.use(order.code, order.spec.code_sha256)
        device = numerics.choose_device(order.device)
        with (
            numerics.settings(order.spec, order.threads),
            numerics.memory_errors(device),
            numerics.current(device),
        ):
            _Follower(order, folder, device).run()


class _Follower:
    def __init__(self, order: Order, folder: Path, device: torch.device) -> None:
        self.order, self.folder, self.device = order, folder, device
        self.data = splits.load(order.spec, order.data, device, order.decoders, order.decoder)
        self.learner = Learner(order.spec, device, order.kernels, order.pretrained)
        if order.graph:
            self.learner.record_graph()

    def run(self) -> None:
        """Take the leader's state, then every epoch that is left."""
        order, learner, train = self.order, self.learner, self.data.train
        (self.folder / READY).touch()
        with connected(self.folder.parent, order.rank, order.size, self.device) as ranks:
            learner.ranks = ranks
            position = share_state(learner, Position(0, 0, 0, False))
            if not position.evaluated:
                self._test(ranks)
            step, first = position.step, position.step_in_epoch
            steps = -(-train.count // order.spec.batch_size)
            for epoch in range(position.epochs_done + 1, order.spec.epochs + 1):
                learner.model.train()
                for images, labels in train.batches(epoch, first):
                    learner.step(images, labels, optim.lr(order.spec, step, steps), step)
                    step += 1
                first = 0
                self._test(ranks)

    def _test(self, ranks: Connected) -> None:
        learner = self.learner
        ranks.share([learner.flat.statistics])
        for split in self.data.evaluated.values():
            ranks.gathered(batch_sums(learner.model, lambda i: [learner.forward(i)], split, ranks))


@contextlib.contextmanager
def _errors_told(folder: Path) -> Iterator[None]:
    """Leave the leader the reason of an error."""
    try:
        yield
    except TrainerError as error:
        write_json(folder / ERROR, {"type": type(error).__name__, "message": str(error)})
        raise


def _end_with_leader() -> None:
    """Standard input is a pipe from the leader, who writes nothing: it ends with the leader.

    The main thread may wait for others in torch, where no exception reaches it. The descriptor is
    read, not the stream, whose lock Python would want at its own end.
    """
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
