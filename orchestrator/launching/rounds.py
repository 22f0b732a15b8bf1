"""Rounds: what of a launch is missing or unfinished and may run now, from the store alone.

Every retry and every trial left alone is decided here, with `failures.decide`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from orchestrator.launching.worker import PackTask
from orchestrator.planning.history import History
from orchestrator.planning.order import longest_first
from orchestrator.settings import Settings
from orchestrator.store import failures, liveness, ownership
from orchestrator.store.failures import Failure
from orchestrator.store.records import Launch, Stop, TrialStatus
from orchestrator.store.store import Store
from orchestrator.sweep.resources import Resources
from trainer import results
from trainer.grouping import groups
from trainer.spec import TrialSpec


@dataclass(frozen=True)
class Order:
    """What the user asked for: which trials of a launch, and what to do with the failed ones."""

    trials: tuple[str, ...] = ()
    """Only these trial ids; a failed trial that is named runs again whatever its class."""
    retry_failed: bool = True
    wait: bool = True
    """Wait for trials that another launch is training."""
    max_gpu_hours: float | None = None
    """Once the launch has taken more, its trials end after their step."""


@dataclass
class RunningLaunch:
    """A launch under way: what the rounds and the monitor share."""

    store: Store
    settings: Settings
    record: Launch
    order: Order
    begun_with: dict[str, int] = field(default_factory=dict)
    """The newest attempt of each trial when the launch began: later ones are this launch's."""
    finished: dict[str, TrialStatus] = field(default_factory=dict)

    @cached_property
    def history(self) -> History:
        """Times of the store's finished trials, as they were when they were first asked for."""
        planned = zip(self.specs, self.statuses(), strict=True)
        return History(self.store, planned, self.resources.ranks)

    @property
    def key(self) -> tuple[str, int]:
        """The sweep's name and the launch's number, by which the store and workers know it."""
        return self.record.sweep.name, self.record.number

    @property
    def specs(self) -> tuple[TrialSpec, ...]:
        """All trials of the sweep."""
        return self.record.specs

    @property
    def resources(self) -> Resources:
        """What each trial asks of a machine."""
        return self.record.sweep.resources

    @property
    def log(self) -> Path:
        """Where the output of Ray and MLflow goes."""
        return self.store.launch_log(*self.key)

    @property
    def stop(self) -> Stop | None:
        """The request to stop the whole launch, if there is one."""
        return self.store.stop_for(*self.key)

    def statuses(self) -> list[TrialStatus]:
        """All trials; a finished one is read once."""
        statuses = []
        for spec in self.specs:
            status = self.finished.get(spec.trial_id) or self.store.state(spec)
            if status.state == "finished":
                self.finished[spec.trial_id] = status
            statuses.append(status)
        return statuses

    def forget_what_is_gone(self) -> None:
        """Read a trial again whose result somebody has removed since it was read."""
        for trial_id in list(self.finished):
            if not (self.store.trial_folder(trial_id) / results.RESULT).exists():
                del self.finished[trial_id]

    def attempts(self) -> dict[str, list[int]]:
        """The numbers of each trial's attempts: they change when any worker begins anything."""
        return {spec.trial_id: self.store.attempts(spec.trial_id) for spec in self.specs}

    def failures_here(self, trial_id: str) -> list[Failure]:
        """How the trial's attempts since the launch began have failed, oldest first.

        One that another launch was asked to stop is no reason for this one to leave the trial.
        """
        here = []
        for number in self.store.attempts(trial_id):
            if number <= self.begun_with.get(trial_id, 0):
                continue
            failure = self.store.failure_of(trial_id, number)
            if failure and (failure.failure != "stopped" or self.began(trial_id, number)):
                here.append(failure)
        return here

    def began(self, trial_id: str, number: int) -> bool:
        """Whether the attempt is this launch's."""
        start = liveness.read_start(self.store.attempt_folder(trial_id, number))
        return start is not None and (start.sweep, start.launch) == self.key


@dataclass(frozen=True)
class Round:
    """What to do next: trials to train, and those that other launches are training meanwhile."""

    trials: tuple[TrialSpec, ...]
    alone: frozenset[str]
    """Those that ran out of memory beside others: each runs by itself."""
    others: tuple[TrialStatus, ...]
    pause_s: float
    epochs_done: dict[str, int] = field(default_factory=dict)
    """Of the trials that go on from a checkpoint."""
    others_own: Mapping[str, str] = field(default_factory=dict)
    """Trials that another user began and this one may not go on with: id and why."""


def next_round(launch: RunningLaunch) -> Round:
    """What is missing or unfinished and may run now."""
    statuses = {status.trial_id: status for status in launch.statuses()}
    stops = launch.store.stops_for(*launch.key)
    idle = {*launch.store.held_back(*launch.key)}.union(*(stop.trials for stop in stops))
    trials, alone, others, pause_s = [], set(), [], 0.0
    others_own: dict[str, str] = {}
    for spec in launch.specs:
        status = statuses[spec.trial_id]
        if launch.order.trials and spec.trial_id not in launch.order.trials:
            continue
        if status.state == "running":
            others.append(status)
        elif status.state != "finished" and spec.trial_id not in idle:
            decision = _decide(launch, spec, status)
            if decision.run and (why := launch.store.not_ours(spec.trial_id)):
                others_own[spec.trial_id] = why
            elif decision.run:
                trials.append(spec)
                pause_s = max(pause_s, decision.pause_s)
                if decision.alone:
                    alone.add(spec.trial_id)
    done = {spec.trial_id: statuses[spec.trial_id].epoch or 0 for spec in trials}
    return Round(tuple(trials), frozenset(alone), tuple(others), pause_s, done, others_own)


def _decide(launch: RunningLaunch, spec: TrialSpec, status: TrialStatus) -> failures.Decision:
    here = launch.failures_here(spec.trial_id)
    if here:
        decision = failures.decide(here, launch.record.sweep.retries)
        if not decision.run and here[-1].failure == "lost":
            final = here[-1].model_copy(update={"cause": decision.reason})
            ownership.give_up_lost(launch.store, spec.trial_id, final)
        return decision
    before = launch.store.failure(spec.trial_id) if status.state == "failed" else None
    if before is None or spec.trial_id in launch.order.trials:
        return failures.Decision(run=True)
    again = launch.order.retry_failed and before.failure not in failures.NOT_AGAIN
    return failures.Decision(run=again, reason=before.cause)


def pack_tasks(launch: RunningLaunch, todo: Round) -> list[PackTask]:
    """The round's trials in packs, the longest first. Those that must run alone wait until no
    others are left."""
    resources = launch.resources
    packs = [todo.trials[:1]]
    together = [spec for spec in todo.trials if spec.trial_id not in todo.alone]
    if together:
        on_gpu = resources.gpus not in ("auto", 0)
        pack = "off" if resources.ranks > 1 else resources.pack
        indices = groups(together, pack, streams=on_gpu)
        packs = [tuple(together[i] for i in group) for group in indices]
        if len(packs) > 1:
            packs = longest_first(packs, launch.history, todo.epochs_done)
    return [
        PackTask(
            store=launch.store.root,
            data=launch.settings.data,
            sweep=launch.record.sweep.name,
            launch=launch.record.number,
            trials=pack,
            device="cpu" if resources.gpus == 0 else "auto",
            threads=resources.cpus,
            processes=resources.ranks,
            kernels=resources.kernels,
            graphs=resources.graphs,
            decoders=2 if resources.decoders == "auto" else resources.decoders,
            decoder=resources.decoder,
            checkpoint_every_s=resources.checkpoint_every_s,
            beside=max(0, resources.limited(len(packs)) - 1),
        )
        for pack in packs
    ]
