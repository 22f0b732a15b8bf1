"""Rounds: what of a launch is missing or unfinished and may run now, from the store alone.

Every retry and every trial left alone is decided here, with `failures.decide`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.launching.worker import Job
from orchestrator.settings import Settings
from orchestrator.store import claims, failures, liveness
from orchestrator.store.records import Launch, Stop, TrialStatus
from orchestrator.store.store import Store
from orchestrator.sweep.resources import Resources
from trainer.grouping import groups
from trainer.results import Failure
from trainer.spec import TrialSpec


@dataclass(frozen=True)
class Order:
    """What the user asked for: which trials of a launch, and what to do with the failed ones."""

    trials: tuple[str, ...] = ()
    """Only these trial ids; a failed trial that is named runs again whatever its class."""
    retry_failed: bool = True
    wait: bool = True
    """Wait for trials that another launch is training."""


@dataclass
class Run:
    """A launch under way: what the rounds and the monitor share."""

    store: Store
    settings: Settings
    launch: Launch
    specs: tuple[TrialSpec, ...]
    order: Order

    @property
    def resources(self) -> Resources:
        """What each trial asks of a machine."""
        return Resources(**self.launch.resources)

    begun_with: dict[str, int] = field(default_factory=dict)
    """The newest attempt of each trial when the launch began: later ones are this launch's."""
    finished: dict[str, TrialStatus] = field(default_factory=dict)
    overdue: bool = False
    """Workers are still there long after a request to end at the next step: now they are killed."""

    def statuses(self) -> list[TrialStatus]:
        """All trials; a finished one is read once."""
        found = []
        for spec in self.specs:
            status = self.finished.get(spec.trial_id) or self.store.state(spec)
            if status.state == "finished":
                self.finished[spec.trial_id] = status
            found.append(status)
        return found

    @property
    def stop(self) -> Stop | None:
        """The request to stop the whole launch, if there is one."""
        return self.store.stop_for(self.launch.sweep, self.launch.number)

    def failures_here(self, trial_id: str) -> list[Failure]:
        """How the trial's attempts since the launch began have failed, oldest first.

        One that another launch was asked to stop is no reason for this one to leave the trial.
        """
        first = self.begun_with.get(trial_id, 0)
        numbers = [n for n in self.store.attempts(trial_id) if n > first]
        found = [(n, self.store.failure_of(trial_id, n)) for n in numbers]
        return [f for n, f in found if f and (f.failure != "stopped" or self._began(trial_id, n))]

    def _began(self, trial_id: str, number: int) -> bool:
        start = liveness.read_start(self.store.attempt_folder(trial_id, number))
        here = (self.launch.sweep, self.launch.number)
        return start is not None and (start.sweep, start.launch) == here


@dataclass(frozen=True)
class Round:
    """What to do next: jobs to run, and whether trials of other launches are still under way."""

    run: tuple[TrialSpec, ...]
    alone: frozenset[str]
    others: tuple[TrialStatus, ...]
    pause_s: float


def next_round(run: Run) -> Round:
    """What is missing or unfinished and may run now."""
    statuses = {s.trial_id: s for s in run.statuses()}
    held = run.store.held_back(run.launch.sweep, run.launch.number)
    stops = run.store.stops_for(run.launch.sweep, run.launch.number)
    idle = {*held, *(trial_id for stop in stops for trial_id in stop.trials)}
    todo, alone, pause_s = [], set(), 0.0
    specs = [s for s in run.specs if not run.order.trials or s.trial_id in run.order.trials]
    for spec in specs:
        status = statuses[spec.trial_id]
        if status.state in ("finished", "running") or spec.trial_id in idle:
            continue
        decision = _decide(run, spec, status)
        if decision.run:
            todo.append(spec)
            pause_s = max(pause_s, decision.pause_s)
            if decision.alone:
                alone.add(spec.trial_id)
    running = [statuses[spec.trial_id] for spec in specs]
    others = tuple(status for status in running if status.state == "running")
    return Round(tuple(todo), frozenset(alone), others, pause_s)


def _decide(run: Run, spec: TrialSpec, status: TrialStatus) -> failures.Decision:
    here = run.failures_here(spec.trial_id)
    if here:
        decision = failures.decide(here, run.launch.retries)
        if not decision.run and here[-1].failure == "lost":
            claims.give_up_lost(
                run.store, spec.trial_id, here[-1].model_copy(update={"cause": decision.reason})
            )
        return decision
    before = run.store.failure(spec.trial_id) if status.state == "failed" else None
    if before is None or spec.trial_id in run.order.trials:
        return failures.Decision(run=True)
    again = run.order.retry_failed and before.failure not in failures.NOT_AGAIN
    return failures.Decision(run=again, reason=before.cause)


def jobs(run: Run, todo: Round) -> list[Job]:
    """The round's packs. A trial that ran out of memory beside others comes last, by itself."""
    together = [s for s in todo.run if s.trial_id not in todo.alone]
    if not together:
        return [_job(run, todo.run[:1], beside=0)]
    on_gpu = run.resources.gpus not in ("auto", 0)
    indices = groups(together, run.resources.pack, streams=on_gpu)
    packs = [[together[i] for i in group] for group in indices]
    return [_job(run, pack, beside=len(together) - 1) for pack in packs]


def _job(run: Run, pack: Sequence[TrialSpec], beside: int) -> Job:
    return Job(
        store=str(run.store.root),
        data=str(run.settings.data),
        sweep=run.launch.sweep,
        launch=run.launch.number,
        trials=tuple(spec.identity_fields() for spec in pack),
        device="cpu" if run.resources.gpus == 0 else "auto",
        threads=run.resources.cpus,
        kernels=run.resources.kernels,
        graphs=run.resources.graphs,
        beside=beside,
    )
