"""Several trials in one program: output_only trials with the same frozen network share a forward.

A member computes the same operations on the same numbers as it would alone, so its bits are those
of a trial alone, and it may leave, stop or resume by itself. Each keeps its own folder, journal,
checkpoint, result and failure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from trainer import numerics, packing
from trainer.checkpoint import Resume
from trainer.evaluate import evaluate_many
from trainer.journal import Record
from trainer.results import Result
from trainer.spec import TrialSpec, classes_of
from trainer.train import Options, Trial, train


@dataclass(frozen=True)
class Member:
    """One trial of a pack: what `train` takes for it."""

    spec: TrialSpec
    folder: Path
    attempt: int = 1
    resume: Resume | None = None
    poll: Callable[[], bool] | None = None
    """Asked before each step whether this member alone is to stop; None: as in the options."""
    on_record: Callable[[Record], None] | None = None

    def options(self, common: Options) -> Options:
        """The pack's options with this member's own."""
        return replace(
            common,
            poll=self.poll or common.poll,
            on_record=self.on_record or common.on_record,
        )


def train_pack(members: Sequence[Member], options: Options) -> list[Result | Exception]:
    """Train all members; the outcome of each, in order, and never an exception.

    Members that `packing.groups` puts together share their forward passes, the others follow one
    another. A TrainerError is the member's own; what breaks the shared forward (as OutOfMemory)
    is the outcome of all who were in it, and a smaller pack may mend it.
    """
    outcomes: dict[int, Result | Exception] = {}
    for indices in packing.groups([member.spec for member in members], max(1, len(members))):
        if len(indices) == 1:
            outcomes[indices[0]] = _train_alone(members[indices[0]], options)
        else:
            pack = _Pack({index: members[index] for index in indices}, options)
            outcomes.update(pack.run())
    return [outcomes[index] for index in range(len(members))]


def _train_alone(member: Member, options: Options) -> Result | Exception:
    try:
        return train(
            member.spec,
            member.folder,
            attempt=member.attempt,
            resume=member.resume,
            options=member.options(options),
        )
    except Exception as error:
        return error


class _Pack:
    """Trials in progress that share a frozen network, and how each has ended."""

    def __init__(self, members: dict[int, Member], options: Options) -> None:
        # A graph holds a whole step, of which members do only the last part themselves.
        self.members, self.options = members, replace(options, graphs=False)
        self.device = numerics.choose_device(options.device)
        self.trials: dict[int, Trial] = {}
        self.outcomes: dict[int, Result | Exception] = {}

    def run(self) -> dict[int, Result | Exception]:
        spec = next(iter(self.members.values())).spec
        with numerics.settings(spec, self.options.threads):
            for index in self.members:
                self._build(index)
            self._together(list(self.trials), self._begin)
            while active := self._least_advanced():
                self._together(active, self._epoch)
            for index in self._running():
                with self._alone(index):
                    self.outcomes[index] = self.trials[index].finish()
        return self.outcomes

    # --- whose error it is ----------------------------------------------------------------------

    @contextlib.contextmanager
    def _alone(self, index: int) -> Iterator[None]:
        """An error inside is this member's end; the others go on."""
        try:
            with numerics.memory_errors(self.device):
                yield
        except Exception as error:
            self.outcomes[index] = error

    def _together(self, indices: list[int], act: Callable[[list[int]], None]) -> None:
        """An error inside is the end of all `indices` that are still running."""
        try:
            with numerics.memory_errors(self.device):
                act(indices)
        except Exception as error:
            self.outcomes.update(dict.fromkeys(self._running(indices), error))

    def _running(self, indices: Sequence[int] | None = None) -> list[int]:
        given = self.trials if indices is None else indices
        return [index for index in given if index not in self.outcomes]

    # --- training -------------------------------------------------------------------------------

    def _build(self, index: int) -> None:
        member = self.members[index]
        first = next(iter(self.trials.values()), None)
        with self._alone(index):
            member.folder.mkdir(parents=True, exist_ok=True)
            trial = Trial(
                member.spec,
                member.folder,
                member.attempt,
                member.resume,
                member.options(self.options),
                self.device,
                shared=first.data if first else None,
            )
            if first:
                _share_frozen(first, trial)
            trial.numerics["packed"] = len(self.members)
            self.trials[index] = trial

    def _begin(self, indices: list[int]) -> None:
        """The record before training, of the members that do not have it."""
        new = [index for index in indices if not self.trials[index].history]
        self._record(new, {index: {"lr": self.trials[index].lr(0)} for index in new})

    def _least_advanced(self) -> list[int]:
        """The unfinished members that stand where the slowest one does.

        After resumes from different epochs the slow ones catch up first; all that stand at one
        place have the same running statistics, or a comparison here keeps them apart.
        """
        unfinished = [
            index
            for index in self._running()
            if self.trials[index].epochs_done < self.trials[index].spec.epochs
        ]
        if not unfinished:
            return []
        slowest = self.trials[min(unfinished, key=lambda index: _position(self.trials[index]))]
        return [index for index in unfinished if _stand_together(self.trials[index], slowest)]

    def _epoch(self, indices: list[int]) -> None:
        """Train the members to the end of their epoch with the first one's forward passes."""
        body = self.trials[indices[0]]
        for index in indices:
            self.trials[index].begin_epoch()
        batches = body.data.train.batches(body.epochs_done + 1, body.step_in_epoch)
        for images, labels in batches:
            active = self._stop_some(indices, body)
            if not active:
                return
            with torch.no_grad():
                features = body.learner.features(images)
            for index in active:
                with self._alone(index):
                    _step(self.trials[index], features, labels)
        metrics = {}
        for index in self._running(indices):
            _copy_statistics(body, self.trials[index])
            with self._alone(index):
                metrics[index] = self.trials[index].end_epoch()
        self._record(self._running(indices), metrics)

    def _stop_some(self, indices: list[int], body: Trial) -> list[int]:
        """Let those stop that are asked to; the ones that go on."""
        for index in self._running(indices):
            trial = self.trials[index]
            with self._alone(index):
                if trial.options.poll():
                    _copy_statistics(body, trial)
                    trial.stop()
        return self._running(indices)

    def _record(self, indices: list[int], metrics: dict[int, dict[str, float]]) -> None:
        """Evaluate the members with shared forward passes, then let each write its record."""
        if not indices:
            return
        body = self.trials[indices[0]]

        def logits(images: Tensor) -> Iterator[Tensor]:
            features = body.learner.features(images)
            return (self.trials[index].learner.output(features) for index in indices)

        tested = evaluate_many(body.learner.model, logits, body.data.test, classes_of(body.spec))
        for index, test in zip(indices, tested, strict=True):
            with self._alone(index):
                self.trials[index].record(metrics[index], test)


def _step(trial: Trial, features: Tensor, labels: Tensor) -> None:
    rate = trial.lr(trial.step)
    trial.note(*trial.learner.step_output(features, labels, rate, trial.step))


def _position(trial: Trial) -> tuple[int, int]:
    return trial.epochs_done, trial.step_in_epoch


def _stand_together(one: Trial, other: Trial) -> bool:
    return _position(one) == _position(other) and torch.equal(
        one.learner.flat.statistics, other.learner.flat.statistics
    )


def _copy_statistics(body: Trial, trial: Trial) -> None:
    if trial is not body:
        trial.learner.flat.statistics.copy_(body.learner.flat.statistics)


def _share_frozen(first: Trial, trial: Trial) -> None:
    """Let `trial` use the first member's frozen tensors, so that a pack holds them once."""
    own = dict(trial.learner.model.named_parameters())
    for name, parameter in first.learner.model.named_parameters():
        if name not in first.learner.trained.names:
            assert torch.equal(parameter, own[name]), f"{name} differs within a pack"
            own[name].data = parameter.data
