"""The training loop of one trial: epochs, the records it leaves, stop and resume.

After every epoch the checkpoint is written first (it holds the epoch's record with its time) and
then the journal's line, so that a resume can rewrite a line that is missing and never doubles one.
Within a long epoch there are checkpoints too, which the journal knows nothing of.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from trainer import checkpoint, extend, freezing, journal, numerics, optim, results
from trainer.checkpoint import Header, Resume
from trainer.data import splits
from trainer.data.splits import Data
from trainer.epoch import Epoch, check_last_batch
from trainer.errors import DataError, FreezeViolation, Stopped
from trainer.evaluate import evaluate
from trainer.files import write_atomically, write_json
from trainer.journal import Record
from trainer.kernels import fused_norm
from trainer.learner import Learner
from trainer.options import DEFAULT
from trainer.options import Options as Options
from trainer.probes import probes
from trainer.ranks import crew
from trainer.ranks.state import Position, share_state
from trainer.results import ARTIFACTS, FINAL_TENSORS, FREEZE_PROOF, JOURNAL, PROBES, RESULT, Result
from trainer.spec import TrialSpec, classes_of
from trainer.weights import initial_copy

_log = logging.getLogger(__name__)


def train(
    spec: TrialSpec,
    folder: Path,
    *,
    attempt: int = 1,
    resume: Resume | None = None,
    options: Options = DEFAULT,
) -> Result:
    """Train `spec` to its last epoch, or go on from `resume`; writes only into `folder` (and a copy
    of the initial weights into `options.initial_weights`).

    A resumed run equals the uninterrupted one bit for bit under the same numerics (on the CPU;
    on a GPU with `deterministic`). Raises Stopped, Diverged, OutOfMemory, DataError, SpecError,
    FreezeViolation. Leaves torch's global settings and generators as they were.
    """
    extend.use(options.code, spec.code_sha256)
    probes.check(options.probes)
    device = numerics.choose_device(options.device)
    numerics.reset_peak_memory(device)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        numerics.settings(spec, options.threads),
        numerics.memory_errors(device),
        numerics.current(device),
    ):
        return Trial(spec, folder, attempt, resume, options, device).run()


class Trial:
    """A trial in progress: what is trained, and the position."""

    def __init__(
        self,
        spec: TrialSpec,
        folder: Path,
        attempt: int,
        resume: Resume | None,
        options: Options,
        device: torch.device,
        shared: Data | None = None,
    ) -> None:
        self.spec, self.folder, self.attempt = spec, folder, attempt
        self.options, self.device = options, device
        self.data = shared or splits.load(
            spec, options.data, device, options.decoders_of(0), options.decoder
        )
        check_last_batch(spec, self.data.train.count)
        kernels = fused_norm.choose(options.kernels, device, options.graphs)
        network = resume.initial.take() if resume and resume.initial else None
        self.learner = Learner(spec, device, kernels, options.pretrained, network)
        self._keep_initial_weights()
        self.epoch = Epoch(self.data.train.count, spec.batch_size, device)
        graph = options.graphs and device.type == "cuda" and self.learner.record_graph()
        if options.kernels == "auto" and device.type == "cuda" and not graph:
            kernels = "stock"
            fused_norm.enable(self.learner.model, use=False)
        self.numerics = numerics.describe(
            spec, device, options.threads, kernels, graph, processes=options.processes
        )
        if self.data.decoder:
            self.numerics["decoder"] = self.data.decoder
        self.digests = {
            "initial": self.learner.initial.digest,
            "data": self.data.digest,
            "code": numerics.code_digest(),
        }
        self.epochs_done = self.step_in_epoch = self.step = 0
        self.history: list[Record] = []
        self.exact, self.earlier_s, self.started_ms = True, 0.0, _now_ms()
        self.clock_start = self.checkpoint_clock = time.perf_counter()
        if resume:
            self._restore(resume)
        self._start_journal(resume)

    # --- the loop -------------------------------------------------------------------------------

    def run(self) -> Result:
        if self.options.processes == 1 or self.epochs_done == self.spec.epochs:
            self._run()
        else:
            self._run_with_others()
        return self.finish()

    def _run(self) -> None:
        for _ in self.steps():
            pass

    def _run_with_others(self) -> None:
        spec, options, how = self.spec, self.options, self.numerics
        crew.check(spec, options.processes, self.learner.model)
        with crew.followed(spec, options, self.device, how["kernels"], how["graph"]) as ranks:
            self.learner.ranks = ranks
            here = Position(self.epochs_done, self.step_in_epoch, self.step, bool(self.history))
            share_state(self.learner, here)
            self._run()

    def steps(self) -> Iterator[int]:
        """Train to the last epoch, with a pause after each step, so that trials may take turns.

        Gives the number of updates done; raises what `train` raises.
        """
        if not self.history:
            self.record({"lr": self.lr(0)}, self._test())
        while self.epochs_done < self.spec.epochs:
            self.begin_epoch()
            for images, labels in self.data.train.batches(self.epochs_done + 1, self.step_in_epoch):
                if self.options.poll():
                    self.stop()
                if self.checkpoint_due():
                    self.write_checkpoint()
                self.note(*self.learner.step(images, labels, self.lr(self.step), self.step))
                yield self.step
            self.record(self.end_epoch(), self._test())

    def begin_epoch(self) -> None:
        self.learner.model.train()
        self.first_in_epoch, self.epoch_start = self.step_in_epoch, time.perf_counter()

    def note(self, loss: Tensor, hits: Tensor) -> None:
        """Count an update; its mean loss and hits stay on the device until the epoch ends."""
        self.epoch.note(self.step_in_epoch, loss, hits)
        self.step_in_epoch += 1
        self.step += 1
        self.options.on_step(self.epochs_done + 1, self.step_in_epoch, self.epoch.steps)

    def end_epoch(self) -> dict[str, float]:
        """The epoch's training metrics; raises Diverged. Waits for the device."""
        last_loss = self.history[-1].metrics.get("train/loss")
        metrics = self.epoch.metrics(self.epochs_done + 1, last_loss)
        trained_here = self.data.train.count - self.first_in_epoch * self.spec.batch_size
        speed = trained_here / (time.perf_counter() - self.epoch_start)
        self.epochs_done, self.step_in_epoch = self.epochs_done + 1, 0
        return {**metrics, "lr": self.lr(self.step - 1), "images_per_second": speed}

    def lr(self, step: int) -> float:
        return optim.lr(self.spec, step, self.epoch.steps)

    # --- what it leaves -------------------------------------------------------------------------

    def _test(self) -> dict[str, float]:
        learner, classes = self.learner, classes_of(self.spec)
        learner.ranks.share([learner.flat.statistics])
        return evaluate(learner.model, learner.forward, self.data.evaluated, classes, learner.ranks)

    def record(self, metrics: dict[str, float], tested: dict[str, float]) -> None:
        """Write the checkpoint, which holds the epoch's record, then the journal's line."""
        if self.epochs_done == self.spec.epochs:
            tested = tested | self._probe()
        record = Record(
            seq=self.epochs_done,
            time_ms=_now_ms(),
            step=self.step,
            epoch=self.epochs_done,
            attempt=self.attempt,
            metrics=metrics | tested,
        )
        self.history.append(record)
        self.write_checkpoint()
        journal.append(self.folder / JOURNAL, [record])
        self.options.on_record(record)

    def checkpoint_due(self) -> bool:
        """Whether to write one before the next step. Reads the clock, and never the device."""
        every, done = self.options.checkpoint_every_s, self.step_in_epoch - self.first_in_epoch
        if every is None or not done:  # at the first step here there is nothing new to keep
            return False
        return time.perf_counter() - self.checkpoint_clock >= every

    def write_checkpoint(self) -> None:
        """Keep where training stands. Waits for the device."""
        header = Header(
            trial_id=self.spec.trial_id,
            epochs_done=self.epochs_done,
            step_in_epoch=self.step_in_epoch,
            step=self.step,
            seconds=self._seconds(),
            started_ms=self.started_ms,
            exact=self.exact,
            numerics=self.numerics,
            digests=self.digests,
            history=self.history,
        )
        checkpoint.save(
            self.folder,
            header,
            values=self.learner.flat.values,
            statistics=self.learner.flat.statistics,
            optimizer=self.learner.optimizer.buffers,
            losses=self.epoch.losses[: self.step_in_epoch],
            hits=self.epoch.hits[: self.step_in_epoch],
        )
        self.checkpoint_clock = time.perf_counter()

    def stop(self) -> NoReturn:
        """End between two steps, resumable: raises Stopped."""
        if self.step_in_epoch:  # at an epoch's beginning the checkpoint is written already
            self.write_checkpoint()
        raise Stopped(
            f"stopped in epoch {self.epochs_done + 1} before step {self.step_in_epoch + 1} "
            f"of {self.epoch.steps}; it goes on from there"
        )

    def _probe(self) -> dict[str, float]:
        """Scalars for the last record. What goes wrong here costs the probes, never the trial."""
        artifacts = self.folder / ARTIFACTS
        artifacts.mkdir(exist_ok=True)
        if not self.options.probes:
            return {}
        try:
            return probes.run(
                self.learner.model, self.spec, self.data, self.device, artifacts,
                self.options.probes,
            )  # fmt: skip
        except Exception:
            _log.exception("the probes failed; the trial goes on without them")
            return {}

    def finish(self) -> Result:
        learner, artifacts = self.learner, self.folder / ARTIFACTS
        if not (artifacts / PROBES).exists():  # resumed from the last epoch's checkpoint
            self._probe()
        self._prove_freeze()
        write_atomically(artifacts / FINAL_TENSORS, learner.final_tensors())
        result = Result(
            trial_id=self.spec.trial_id,
            config_id=self.spec.config_id,
            metrics=self.history[-1].metrics,
            attempt=self.attempt,
            epochs=self.spec.epochs,
            seconds=self._seconds(),
            started_ms=self.started_ms,
            finished_ms=_now_ms(),
            peak_memory_bytes=numerics.peak_memory_bytes(self.device),
            exact=self.exact,
            counts=learner.counts,
            numerics=self.numerics,
            digests=self.digests | {"final": learner.final_digest()},
            artifacts=results.digests_under(artifacts),
            spec=self.spec,
            history=self.history,
        )
        results.write(self.folder / RESULT, result)
        return result

    def _prove_freeze(self) -> None:
        """Write the proof that what changed is what should; raises FreezeViolation."""
        learner = self.learner
        rate = max(map(self.lr, range(self.step)), default=0.0)
        batch = self._first_group if rate else None
        proof = self.folder / ARTIFACTS / FREEZE_PROOF
        try:
            found = freezing.prove(learner.initial, learner.model, learner.trained, batch, rate)
        except FreezeViolation as violation:
            write_json(proof, violation.proof)
            raise
        write_json(proof, found)

    def _first_group(self) -> tuple[Tensor, Tensor]:
        images, labels = next(iter(self.data.train.batches(1)))
        group = slice(self.spec.group_size)
        return images[group], labels[group]

    def _seconds(self) -> float:
        return self.earlier_s + time.perf_counter() - self.clock_start

    def _keep_initial_weights(self) -> None:
        learner, shared = self.learner, self.options.initial_weights
        initial_copy.keep(
            learner.model, learner.trained, learner.initial.digest, self.folder, shared
        )

    # --- resume ---------------------------------------------------------------------------------

    def _restore(self, resume: Resume) -> None:
        header = resume.header
        if header.digests["data"] != self.digests["data"]:
            raise DataError(
                f"{self.options.data}: the {self.spec.dataset} data here is not what this trial "
                f"began with; discard the trial or bring the old data back"
            )
        self.learner.flat.load(resume.values, resume.statistics)
        for buffer, saved in zip(self.learner.optimizer.buffers, resume.optimizer, strict=True):
            buffer.copy_(saved)
        self.epoch.restore(resume.losses, resume.hits)
        self.epochs_done, self.step_in_epoch = header.epochs_done, header.step_in_epoch
        self.step, self.history = header.step, list(header.history)
        self.exact = header.exact and numerics.repeats(header.numerics, self.numerics)
        self.earlier_s, self.started_ms = header.seconds, header.started_ms
        self.digests["initial"] = header.digests["initial"]

    def _start_journal(self, resume: Resume | None) -> None:
        """Lines that the earlier journal lacks; all lines where this folder is resumed itself."""
        lines = self.history
        if resume and resume.folder.resolve() != self.folder.resolve():
            written = {record.seq for record in journal.read(resume.folder / JOURNAL)}
            lines = [record for record in self.history if record.seq not in written]
        journal.rewrite(self.folder / JOURNAL, lines)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
