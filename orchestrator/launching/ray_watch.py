"""Watches a round, for a process can stand still without dying: a disk or a GPU that never answers.

A worker whose trial's heartbeat is old, or that begins nothing, is killed: Tune starts another in
its place. Where Ray itself stands still, the round ends all the same.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import tune

from orchestrator.launching.worker import PackTask
from orchestrator.store import liveness
from orchestrator.store.store import Store

IDLE_S = 300.0
"""A worker that has been given trials, none of which is alive for so long, is killed. Its first
import of torch from a slow network share takes minutes, and it waits for a dead host's claims."""
SILENT_S = 600.0
"""A Ray that has said nothing and moved nothing for so long does not work any more."""
LOOK_S = 5.0
END_S = 30.0
"""How long what ends by itself may take to."""
_log = logging.getLogger(__name__)


@dataclass
class _Running:
    """A task under way, as Tune has told."""

    task: PackTask
    actor: Any
    before: dict[str, int]
    """The newest attempt of each of its trials when it was given to the actor."""
    alive_at: float = field(default_factory=time.monotonic)
    silent_at: float | None = None
    """Since when a trial that it has begun has an old heartbeat."""


class Watch(tune.Callback):  # type: ignore[misc]  # Ray is untyped here
    """Follows a round's workers; Tune calls it, and `following` does every few seconds."""

    def __init__(self, tasks: Sequence[PackTask], *, local: bool) -> None:
        self._tasks = tasks
        self._store = Store(tasks[0].store)
        self._local = local
        self._running: dict[str, _Running] = {}
        self._moved_at = time.monotonic()
        self.abandoned = False
        """Whether nobody waits for the round any more: its thread may still be at it."""

    @property
    def ray_stands_still(self) -> bool:
        """Whether nothing has moved for longer than any part of a round takes.

        On a cluster a round may wait for others: there it is Ray that must answer.
        """
        return time.monotonic() - self._moved_at > SILENT_S

    # -- called by Tune, in its loop ---------------------------------------------------------------

    def on_step_begin(self, **_: Any) -> None:
        """Tune looks again. A round that was left shall not go on in the next one's Ray."""
        if self.abandoned:
            raise RuntimeError("this round was left")

    def on_trial_start(self, *, trial: Any, **_: Any) -> None:
        """A task was given to an actor, which is new or has ended another."""
        self._moved_at = time.monotonic()
        task = self._tasks[number_of(trial.config)]
        before = {spec.trial_id: self._newest(spec.trial_id) for spec in task.trials}
        self._running[trial.trial_id] = _Running(task, trial.temporary_state.ray_actor, before)
        with contextlib.suppress(OSError):
            self._say_who_has_moved(before)

    def _say_who_has_moved(self, newest: dict[str, int]) -> None:
        for trial_id, number in newest.items():
            failure = self._store.failure_of(trial_id, number) if number else None
            if failure and failure.failure == "moved":
                _log.info("%s: %s", trial_id, failure.cause)

    def on_trial_complete(self, *, trial: Any, **_: Any) -> None:
        """A task has ended."""
        self._moved_at = time.monotonic()
        self._running.pop(trial.trial_id, None)

    def on_trial_error(self, *, trial: Any, **_: Any) -> None:
        """A task's workers have died too often."""
        self.on_trial_complete(trial=trial)

    # -- called from a thread ----------------------------------------------------------------------

    def look(self) -> None:
        """Kill the workers that do not move. Blocks where Ray or the store does not answer."""
        for running in list(self._running.values()):
            try:
                to_end = self._is_to_end(running)
            except OSError:  # the store is away, and nobody knows what lives
                running.alive_at = self._moved_at = time.monotonic()
                continue
            if to_end:
                running.alive_at = time.monotonic()  # if it helps, there will be another
                ray.kill(running.actor)
        if not self._local and any(node["Alive"] for node in ray.nodes()):
            self._moved_at = time.monotonic()

    def _is_to_end(self, running: _Running) -> bool:
        now, silent = time.monotonic(), False
        for trial_id, before in running.before.items():
            newest = self._newest(trial_id)
            attempt = self._store.attempt_folder(trial_id, newest)
            if newest and liveness.alive(attempt, self._store.server_time()):
                running.alive_at, running.silent_at, self._moved_at = now, None, now
                return False
            silent = silent or (newest > before and not liveness.ended(attempt))
        if not silent:
            return now - running.alive_at > IDLE_S
        # In a store that was away each heartbeat is old at first: the next one may come.
        running.silent_at = running.silent_at or now
        return now - running.silent_at > liveness.HEARTBEAT_S + LOOK_S

    def _newest(self, trial_id: str) -> int:
        return max(self._store.attempts(trial_id), default=0)


def number_of(config: dict[str, str]) -> int:
    """Which of the round's tasks the configuration of a Tune trial names."""
    return int(config["task"].partition(" ")[0])


class Round:
    """A round in a thread of its own: whatever it waits for, the main thread hears signals."""

    def __init__(self, fit: Callable[[], object], watch: Watch) -> None:
        self._fit, self._watch = fit, watch
        self._over = threading.Event()
        self._raised: BaseException | None = None

    def run(self) -> bool:
        """Run it to its end; False where Ray stands still. Raises what the round raises."""
        for target in (self._until_its_end, self._look_now_and_then):
            threading.Thread(target=target, name=target.__name__, daemon=True).start()
        try:
            while not self._over.wait(0.5):
                if self._watch.ray_stands_still:
                    return False
        finally:
            self._watch.abandoned = not self._over.is_set()
        if self._raised is not None:
            raise self._raised
        return True

    def _until_its_end(self) -> None:
        try:
            self._fit()
        except BaseException as error:
            self._raised = error
        finally:
            self._over.set()

    def _look_now_and_then(self) -> None:
        while not self._over.wait(LOOK_S) and not self._watch.abandoned:
            try:
                self._watch.look()
            except Exception:  # Ray's, of many types: its silence has a limit of its own
                continue


def shut_down(*, local: bool) -> None:
    """End Ray in bounded time, and every process of a Ray of our own, also those that stand still.

    A frozen worker does not see that its Ray has ended, and a frozen Ray does not end.
    """
    ours = _processes_of_ray() if local else {}
    ending = threading.Thread(target=ray.shutdown, name="ray-shutdown", daemon=True)
    ending.start()
    ending.join(END_S)
    for pid, start in ours.items():
        if liveness.process_start(pid) == start:
            _kill(pid)
    ending.join(END_S)


def kill_ray() -> None:
    """Kill a Ray of our own that stands still, with all its workers."""
    for pid in _processes_of_ray():
        _kill(pid)


def _processes_of_ray() -> dict[int, str]:
    """PIDs of the Ray that this process has started, and of all below it: when each began."""
    node = ray._private.worker._global_node
    if node is None:
        return {}
    roots = [info.process.pid for infos in node.all_processes.values() for info in infos]
    return {pid: liveness.process_start(pid) for pid in _with_descendants(roots)}


def _with_descendants(pids: list[int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            parent = int(stat.rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found = list(pids)
    for pid in found:  # which grows meanwhile
        found += children.get(pid, [])
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
