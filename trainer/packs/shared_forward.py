"""output_only trials with the same frozen network in one program: they share its forward passes.

The features and BatchNorm's statistics do not depend on the output layer, so a
member's bits are those of a trial alone, and it may leave, stop or resume by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trainer import numerics
from trainer.evaluate import evaluate_many
from trainer.packs.members import Member, Pack
from trainer.spec import classes_of
from trainer.train import Options, Trial


class SharedForward(Pack):
    """Members of which one computes the features of each batch for all."""

    def __init__(self, members: dict[int, Member], options: Options) -> None:
        # A graph holds a whole step, of which members do only the last part themselves.
        super().__init__(members, replace(options, graphs=False))

    def build(self, index: int) -> Trial:
        trial = super().build(index)
        if first := next(iter(self.trials.values()), None):
            _share_frozen(first, trial)
        return trial

    def train(self) -> None:
        self._together(list(self.trials), self._begin)
        while active := self._least_advanced():
            self._together(active, self._epoch)
        for index in self.running():
            with self.alone(index):
                self.outcomes[index] = self.trials[index].finish()

    def _together(self, indices: list[int], act: Callable[[list[int]], None]) -> None:
        """An error inside is the end of all `indices` that are still running."""
        try:
            with numerics.memory_errors(self.device):
                act(indices)
        except Exception as error:
            self.outcomes.update(dict.fromkeys(self._running_of(indices), error))

    def _running_of(self, indices: Sequence[int]) -> list[int]:
        return [index for index in indices if index not in self.outcomes]

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
            for index in self.running()
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
            active = self._between_steps(indices, body)
            if not active:
                return
            features = body.learner.training_features(images)
            for index in active:
                with self.alone(index):
                    _step(self.trials[index], features, labels)
        metrics = {}
        for index in self._running_of(indices):
            _copy_statistics(body, self.trials[index])
            with self.alone(index):
                metrics[index] = self.trials[index].end_epoch()
        self._record(self._running_of(indices), metrics)

    def _between_steps(self, indices: list[int], body: Trial) -> list[int]:
        """Let those stop that are asked to, and write checkpoints that are due; who goes on."""
        for index in self._running_of(indices):
            trial = self.trials[index]
            with self.alone(index):
                if trial.options.poll():
                    _copy_statistics(body, trial)
                    trial.stop()
                if trial.checkpoint_due():
                    _copy_statistics(body, trial)
                    trial.write_checkpoint()
        return self._running_of(indices)

    def _record(self, indices: list[int], metrics: dict[int, dict[str, float]]) -> None:
        """Evaluate the members with shared forward passes, then let each write its record."""
        if not indices:
            return
        body = self.trials[indices[0]]

        def logits(images: Tensor) -> Iterator[Tensor]:
            features = body.learner.features(images)
            return (self.trials[index].learner.output(features) for index in indices)

        tested = evaluate_many(
            body.learner.model, logits, body.data.evaluated, classes_of(body.spec)
        )
        for index, test in zip(indices, tested, strict=True):
            with self.alone(index):
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
