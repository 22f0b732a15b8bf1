"""What a worker does with the trials it is given: claim, train, publish; every error into a file.

Called by each launcher, in a Ray worker or in the driver itself. Never raises for a trial's error:
the trial's folder tells, and Ray's own retries stay for dead processes.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from pydantic import BaseModel, ConfigDict

from orchestrator.planning import costs
from orchestrator.store import failures, liveness, ownership
from orchestrator.store.folder import LOG
from orchestrator.store.liveness import Heartbeat, ResumedFrom
from orchestrator.store.ownership import Claim
from orchestrator.store.records import Stop
from orchestrator.store.store import Store
from orchestrator.sweep.resources import Decoder, Kernels
from trainer import errors, journal, results
from trainer.journal import Record
from trainer.spec import TrialSpec

if TYPE_CHECKING:
    from trainer.packs.pack_training import Member

POLL_S = 1.0
"""A worker looks at most so often for a request to stop."""


class PackTask(BaseModel):
    """One pack of trials for one worker. It travels between processes as JSON."""

    model_config = ConfigDict(frozen=True)

    store: Path
    data: Path
    sweep: str
    launch: int
    trials: tuple[TrialSpec, ...]
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`cpu` where no GPU was asked for (Ray leaves a node's GPUs in the sight of such a worker),
    `cuda` where Ray gave one."""
    threads: int = 1
    processes: int = 1
    kernels: Kernels = "auto"
    graphs: bool = True
    decoders: int = 2
    decoder: Decoder = "auto"
    checkpoint_every_s: float | None = 600.0
    beside: int = 0
    """How many other packs may share the device: an out-of-memory alone is final."""


Leaving = Callable[[], bool]
"""Says whether the machine is about to go away: what trains here ends after its step, and goes on
elsewhere."""


def _stays() -> bool:
    return False


class Watch:
    """Tells a running trial whether to stop: on request, because its claim was taken over, or
    because its machine goes away."""

    def __init__(self, store: Store, task: PackTask, claim: Claim, leaving: Leaving) -> None:
        self._store, self._task, self._claim, self._leaving = store, task, claim, leaving
        self._next = 0.0
        self._stop = False
        self.moves = False
        """Whether it was told to stop only for the sake of the machine."""

    def __call__(self) -> bool:
        if not self._stop and self._leaving():
            self._stop = self.moves = True
        if not self._stop and time.monotonic() >= self._next:
            self._next = time.monotonic() + POLL_S
            try:
                stop = _stop_for(self._store, self._task, self._claim.trial_id)
                asked = stop is not None and stop.mode == "now"
                self._stop = asked or ownership.superseded(self._store, self._claim)
            except OSError:
                return False  # the store is away for a moment; the checkpoint will say so
        return self._stop


def _stop_for(store: Store, task: PackTask, trial_id: str) -> Stop | None:
    return store.stop_for(task.sweep, task.launch, trial_id)


def check_process() -> None:
    """Raise where this process can compute nothing any more: an earlier trial's fault on the GPU
    (an illegal access, say) fails every later call, and only a new process is rid of it."""
    if numerics := sys.modules.get("trainer.numerics"):  # else nothing has been trained here yet
        numerics.check_device()


def run_pack(task: PackTask, leaving: Leaving = _stays) -> None:
    """Run the pack's trials that nobody else has and no request to stop holds back."""
    store = Store(task.store)
    claimed = []
    for spec in task.trials:
        try:
            # On a disk that is filling up no trial begins: one that fails costs what it trained,
            # one that waits costs nothing, and the driver ends the launch with the reason.
            if lack := store.lack_of_disk_space(costs.trial_bytes(spec)):
                print(f"{spec.trial_id}: not begun; {lack}", file=sys.stderr)  # noqa: T201
            elif claim := _claim(store, task, spec, leaving):
                claimed.append((spec, claim))
        except OSError as error:  # no claim, so no folder to record it in: the driver looks too
            print(f"{spec.trial_id}: {error}", file=sys.stderr)  # noqa: T201
    if claimed:
        run_claimed(store, task, claimed, leaving)


def _claim(store: Store, task: PackTask, spec: TrialSpec, leaving: Leaving) -> Claim | None:
    """The claim, or None. A claim of this same launch is waited for: its worker or node died."""
    here = (task.sweep, task.launch)
    while not (
        leaving()
        or _stop_for(store, task, spec.trial_id)
        or spec.trial_id in store.held_back(*here)
    ):
        claim = ownership.claim(store, spec, liveness.this_process(*here))
        if claim is not None or not _held_by_this_launch(store, task, spec.trial_id):
            return claim
        time.sleep(POLL_S)
    return None


def _held_by_this_launch(store: Store, task: PackTask, trial_id: str) -> bool:
    if store.state(trial_id).state != "running":
        return False
    start = liveness.read_start(store.attempt_folder(trial_id, store.attempts(trial_id)[-1]))
    return start is not None and (start.sweep, start.launch) == (task.sweep, task.launch)


def run_claimed(
    store: Store,
    task: PackTask,
    claimed: list[tuple[TrialSpec, Claim]],
    leaving: Leaving = _stays,
) -> None:
    """Train the claimed trials to their results, or record why there are none."""
    with contextlib.ExitStack() as stack:
        try:
            beats = [stack.enter_context(Heartbeat(claim.folder)) for _, claim in claimed]
            logs = _Logs(stack, [claim.folder / LOG for _, claim in claimed])
            stack.enter_context(contextlib.redirect_stdout(logs))
            stack.enter_context(contextlib.redirect_stderr(logs))
            stack.enter_context(_own_code(store, claimed[0][0]))
            _train(store, task, claimed, beats, leaving)
        except Exception as error:  # whatever it is, it belongs to these trials alone
            for _, claim in claimed:
                if not liveness.ended(claim.folder):
                    _record(task, claim, error)


@contextlib.contextmanager
def _own_code(store: Store, spec: TrialSpec) -> Iterator[None]:
    """Let the user's own code add its definitions for the time of its trial, which trains alone.

    From before its checkpoint is looked for, which builds the network, to its end: in this process
    the next trial, or the next sweep file, must not take them for built in.
    """
    if not spec.code_sha256:
        yield
        return
    from trainer import extend  # loads torch, as `_train` does

    try:
        extend.use(store.code_of(spec), spec.code_sha256)
        yield
    finally:
        extend.use(None, "")


def _train(
    store: Store,
    task: PackTask,
    claimed: Sequence[tuple[TrialSpec, Claim]],
    beats: Sequence[Heartbeat],
    leaving: Leaving,
) -> None:
    # Only here and above does the orchestrator load the trainer's torch side: inside the worker.
    from trainer.packs.pack_training import train_pack
    from trainer.train import Options

    # The members of a pack have one file of pretrained weights (see trainer.grouping).
    pretrained = store.weights_of(claimed[0][0])

    members = []
    for (spec, claim), beat in zip(claimed, beats, strict=True):
        try:
            watch = Watch(store, task, claim, leaving)
            members.append((claim, watch, _member(store, spec, claim, beat, watch)))
        except Exception as error:  # a checkpoint that cannot be read is this trial's alone
            _record(task, claim, error)
    options = Options(
        data=task.data,
        device=task.device,
        threads=task.threads,
        processes=task.processes,
        kernels=task.kernels,
        graphs=task.graphs,
        decoders=task.decoders,
        decoder=task.decoder,
        checkpoint_every_s=task.checkpoint_every_s,
        pretrained=pretrained,
        code=store.code_of(claimed[0][0]),
        initial_weights=store.initial_weights_folder,
    )
    outcomes = train_pack([member for *_, member in members], options)
    for (claim, watch, _), outcome in zip(members, outcomes, strict=True):
        if isinstance(outcome, errors.Stopped) and watch.moves:
            _record(task, claim, failures.MachineLeaves())
        elif isinstance(outcome, Exception):
            _record(task, claim, outcome)
        else:
            ownership.publish(store, claim)


def _member(store: Store, spec: TrialSpec, claim: Claim, beat: Heartbeat, watch: Watch) -> Member:
    """The trial as a member of the pack, going on from its newest checkpoint if it has one."""
    from trainer import checkpoint
    from trainer.packs.pack_training import Member

    earlier = [n for n in store.attempts(spec.trial_id) if n < claim.number]
    folders = [store.attempt_folder(spec.trial_id, n) for n in reversed(earlier)]
    resume = checkpoint.find(folders, spec, store.weights_of(spec))
    if resume is not None:
        attempt = int(resume.folder.name)
        ownership.resumed(claim, ResumedFrom(attempt=attempt, epoch=resume.epoch))
        within = f", step {resume.step}" if resume.step else ""
        _log(claim, f"goes on after epoch {resume.epoch}{within}, from attempt {attempt}")

    def on_record(record: Record) -> None:
        _log(claim, journal.line_for_people(record, spec.epochs))

    return Member(
        spec,
        claim.folder,
        attempt=claim.number,
        resume=resume,
        poll=watch,
        on_record=on_record,
        on_step=beat.note,
    )


def _record(task: PackTask, claim: Claim, error: Exception) -> None:
    records = journal.read(claim.folder / results.JOURNAL)
    failure = failures.classify(
        error, attempt=claim.number, epoch=records[-1].epoch if records else None
    )
    if failure.failure == "oom":
        beside = task.beside + len(task.trials) - 1
        failure = failure.model_copy(update={"details": {**failure.details, "beside": beside}})
    with contextlib.suppress(OSError):  # a store that cannot be written: the heartbeat goes stale
        ownership.fail(claim, failure)
    print(failure.traceback, file=sys.stderr)  # noqa: T201 - into the trial's log


def _log(claim: Claim, text: str) -> None:
    """A line into the log of this trial alone, whoever else is in its pack."""
    with contextlib.suppress(OSError), _opened(claim.folder / LOG) as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


def _opened(log: Path) -> TextIO:
    """A log to append to: whatever is said, in whatever locale, stands in it."""
    return log.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")


class _Logs(io.TextIOBase):
    """Text that goes to the logs of all trials here; none is lost for want of a log."""

    def __init__(self, stack: contextlib.ExitStack, paths: Sequence[Path]) -> None:
        self._files = []
        for path in paths:
            with contextlib.suppress(OSError):
                self._files.append(stack.enter_context(_opened(path)))

    def write(self, text: str) -> int:
        """Append to each file that can be written."""
        for file in self._files:
            with contextlib.suppress(OSError):
                file.write(text)
        return len(text)
