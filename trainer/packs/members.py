"""The members of a pack: trials in progress in one program, and how each has ended.

Each keeps its own folder, journal, checkpoint, result and failure. What the members share, and in
which order they step, is the matter of the two forms, `shared_forward` and `streams`.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from trainer import numerics
from trainer.checkpoint import Resume
from trainer.journal import Record
from trainer.results import Result
from trainer.spec import TrialSpec
from trainer.train import Options, Trial

Outcome = Result | Exception


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
    on_step: Callable[[int, int, int], None] | None = None

    def options(self, common: Options) -> Options:
        """The pack's options with this member's own."""
        return replace(
            common,
            poll=self.poll or common.poll,
            on_record=self.on_record or common.on_record,
            on_step=self.on_step or common.on_step,
        )


class Pack:
    """Members that are trained together; a form says how, in `train`."""

    def __init__(self, members: dict[int, Member], options: Options) -> None:
        self.members, self.options = members, options
        self.device = numerics.choose_device(options.device)
        self.trials: dict[int, Trial] = {}
        """The members that could be built."""
        self.outcomes: dict[int, Outcome] = {}

    def run(self) -> dict[int, Outcome]:
        """Train all members; the outcome of each, and never an exception."""
        spec = next(iter(self.members.values())).spec  # the settings are the same for all
        numerics.reset_peak_memory(self.device)
        with numerics.settings(spec, self.options.threads), numerics.current(self.device):
            for index in self.members:
                with self.alone(index):
                    self.trials[index] = self.build(index)
            self.train()
        return self.outcomes

    def build(self, index: int) -> Trial:
        """The member's trial; its images are those of an earlier member that has the same."""
        member = self.members[index]
        member.folder.mkdir(parents=True, exist_ok=True)
        known = (trial.data.of(member.spec) for trial in self.trials.values())
        trial = Trial(
            member.spec,
            member.folder,
            member.attempt,
            member.resume,
            member.options(self.options),
            self.device,
            shared=next((data for data in known if data), None),
        )
        trial.numerics["packed"] = len(self.members)
        return trial

    def train(self) -> None:
        """Bring every member that was built to its outcome."""
        raise NotImplementedError

    @contextlib.contextmanager
    def alone(self, index: int) -> Iterator[None]:
        """An error inside is this member's end; the others go on."""
        try:
            with numerics.memory_errors(self.device):
                yield
        except Exception as error:
            _forget_values(error)
            self.outcomes[index] = error

    def running(self) -> list[int]:
        """The members that were built and have no outcome yet."""
        return [index for index in self.trials if index not in self.outcomes]


def _forget_values(error: BaseException | None) -> None:
    """Drop the local variables of the frames that `error` came through.

    They hold the member's network and activations: memory that the others may need.
    """
    while error:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
