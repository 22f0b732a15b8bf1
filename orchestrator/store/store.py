"""The store: one folder with all sweeps and trials, laid out here and in folder.py alone.

    sweeps/<name>/launches/<n>.json    each launch: the YAML as given and the resolved trials
                  stop.json            a request to stop, for a launch and those before it
                  forward/             how far the tracker has what the journals have
    trials/<trial_id>/spec.json
                      attempts/<n>/    one execution; see trainer/results.py, ownership.py
                      result.json      exists = finished
                      (pulled.json in an attempt: `pull` has brought it from another store)
    discarded/<trial_id>-<n>/          results set aside
    weights/<sha256>.pt                files of pretrained weights that launches named
    code/<sha256>.py, code/<sha256>/   the user's own code that launches named, a file or a package
    cache/describe/                    what was said of such code; can go
    initial/<sha256>.pt                initial weights, linked from the attempts that begin so

The state of a trial is derived from its folder at every look; nothing else remembers it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from orchestrator.errors import UnreachableError, UserError
from orchestrator.store import liveness, ownership, permissions
from orchestrator.store.failures import Failure
from orchestrator.store.folder import ATTEMPTS, ERROR, NAME, PULLED, StoreFolder, numbers
from orchestrator.store.records import Launch, State, Stop, TrialStatus
from trainer import files, journal, results
from trainer.journal import Record
from trainer.results import Result, ResultSummary
from trainer.spec import TrialSpec

_LOCK_TRIES, _LOCK_POLL_S = 100, 0.05


class Store(StoreFolder):
    """What lies in a store: sweeps with their launches, and trials with their attempts."""

    # -- sweeps and launches --------------------------------------------------------------------

    def sweeps(self) -> list[str]:
        """Names of the sweeps that were launched, sorted; also of those that cannot be read."""
        if not self.sweeps_folder.is_dir():
            return []
        names = (p.name for p in self.sweeps_folder.iterdir() if _may_be_folder(p / "launches"))
        return sorted(name for name in names if NAME.fullmatch(name))

    def launch_numbers(self, name: str) -> list[int]:
        """Numbers of a sweep's launches, oldest first."""
        return numbers(self.sweep_folder(name) / "launches", ".json")

    def newest_launch(self, name: str) -> Launch | None:
        """The sweep's newest readable launch; None where there is none."""
        launches = (self.launch(name, n) for n in reversed(self.launch_numbers(name)))
        return next((launch for launch in launches if launch is not None), None)

    def newest_launches(self) -> list[Launch]:
        """The newest readable launch of each sweep."""
        launches = (self.newest_launch(name) for name in self.sweeps())
        return [launch for launch in launches if launch is not None]

    def launch(self, name: str, number: int) -> Launch | None:
        """One launch of a sweep; None where its file is missing or damaged."""
        return files.read_json(self.sweep_folder(name) / "launches" / f"{number}.json", Launch)

    def launched(self, name: str) -> list[TrialSpec]:
        """All trials that a launch of the sweep named, each once."""
        launches = [self.launch(name, number) for number in self.launch_numbers(name)]
        named = [spec for launch in launches if launch for spec in launch.specs]
        return list({spec.trial_id: spec for spec in named}.values())

    def unreadable_launches(self, name: str) -> list[str]:
        """Launches of which nobody knows which trials they name: damaged files, in the store."""
        numbers = (n for n in self.launch_numbers(name) if self.launch(name, n) is None)
        return [f"sweeps/{name}/launches/{number}.json" for number in numbers]

    def running_launches(self, name: str, statuses: Iterable[TrialStatus]) -> list[Launch]:
        """Launches of the sweep that train some of these trials now, the newest first."""
        running = [status for status in statuses if status.state == "running"]
        folders = [self.attempt_folder(status.trial_id, status.attempt) for status in running]
        starts = [start for folder in folders if (start := liveness.read_start(folder))]
        numbers = {start.launch for start in starts if start.sweep == name}
        launches = (self.launch(name, number) for number in sorted(numbers, reverse=True))
        return [launch for launch in launches if launch is not None]

    def record_launch(self, launch: Launch) -> Launch:
        """Store the launch under the next free number, and return it with that number."""
        folder = self.sweep_folder(launch.sweep.name) / "launches"
        folder.mkdir(parents=True, exist_ok=True)
        taken = self.launch_numbers(launch.sweep.name)
        # Also of launches whose files somebody removed: the new one shall not obey for them.
        taken += [stop.launch for stop in self.stops_for(launch.sweep.name, 0)]
        number = max(taken, default=0) + 1
        while True:
            numbered = launch.model_copy(update={"number": number})
            if files.write_once(folder / f"{number}.json", files.as_json(numbered)):
                return numbered
            number += 1

    def request_stop(self, name: str, stop: Stop) -> None:
        """Write the sweep's stop.json. Requests add up: none lifts another one, nor one that is
        made in the same instant."""
        folder = self.sweep_folder(name)
        with _one_at_a_time(folder):
            earlier = tuple(other for other in self.stops_for(name, 0) if not stop.covers(other))
            added = stop.model_copy(update={"earlier": earlier})
            files.write_json(folder / "stop.json", added)

    def stops_for(self, name: str, launch: int) -> list[Stop]:
        """All requests that the launch must obey."""
        stop = files.read_json(self.sweep_folder(name) / "stop.json", Stop)
        requests = (stop, *stop.earlier) if stop else ()
        return [request for request in requests if request.launch >= launch]

    def stop_for(self, name: str, launch: int, trial_id: str = "") -> Stop | None:
        """The strongest request that the launch must obey with the trial; without one, with all."""
        stops = [s for s in self.stops_for(name, launch) if not s.trials or trial_id in s.trials]
        return max(stops, key=lambda stop: stop.mode == "now", default=None)

    def hold_back(self, name: str, launch: int, held: dict[str, str]) -> None:
        """Tell the launch's workers which trials not to begin, and why."""
        path = self.sweep_folder(name) / "launches" / f"{launch}.held"
        files.write_json(path, dict(held))

    def held_back(self, name: str, launch: int) -> dict[str, str]:
        """Trials that the launch does not begin: id and reason."""
        path = self.sweep_folder(name) / "launches" / f"{launch}.held"
        try:
            return {str(k): str(v) for k, v in json.loads(files.read(path)).items()}
        except (OSError, ValueError, AttributeError):
            return {}

    # -- trials ------------------------------------------------------------------------------

    def trial_ids(self) -> Iterator[str]:
        """All trials with a folder, in no order."""
        if self.trials_folder.is_dir():
            with os.scandir(self.trials_folder) as entries:
                yield from (e.name for e in entries if NAME.fullmatch(e.name))

    def spec(self, trial_id: str) -> TrialSpec | None:
        """The stored spec; None where it is missing or damaged."""
        return files.read_json(self.trial_folder(trial_id) / results.SPEC, TrialSpec)

    def result(self, trial_id: str) -> Result | None:
        """The whole result; None where the trial is not finished, or its result is damaged, edited
        or another trial's."""
        try:
            result = results.parse(files.read(self.trial_folder(trial_id) / results.RESULT))
        except (OSError, ValueError):
            return None
        return result if result.trial_id == trial_id else None

    def summary(self, trial_id: str) -> ResultSummary | None:
        """The result without its history; None as of `result`."""
        try:
            path = self.trial_folder(trial_id) / results.RESULT
            summary = results.parse_summary(files.read(path))
        except (OSError, ValueError):
            return None
        return summary if summary.trial_id == trial_id else None

    def pulled(self, trial_id: str) -> bool:
        """Whether the trial is finished because `pull` has brought it from another store."""
        finished = (self.trial_folder(trial_id) / results.RESULT).exists()
        return finished and any(self.pulled_from(trial_id, n) for n in self.attempts(trial_id))

    def pulled_from(self, trial_id: str, number: int) -> str:
        """Where `pull` has brought an attempt from; "" for one that was made here."""
        try:
            mark = json.loads((self.attempt_folder(trial_id, number) / PULLED).read_bytes())
            return str(mark["url"])
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, KeyError, TypeError):
            return "a place that nobody can read any more"

    def failure(self, trial_id: str) -> Failure | None:
        """Why the newest attempt ended without a result; None while it runs or where it has one."""
        numbers = self.attempts(trial_id)
        return self.failure_of(trial_id, numbers[-1]) if numbers else None

    def failure_of(self, trial_id: str, number: int) -> Failure | None:
        """How an attempt failed: its error.json, or `lost` where its process is gone."""
        folder = self.attempt_folder(trial_id, number)
        try:
            return Failure.model_validate_json(files.read(folder / ERROR))
        except FileNotFoundError:
            pass
        except (OSError, ValidationError):
            return Failure(failure="code", cause="error.json is damaged", attempt=number)
        has_result = (folder / results.RESULT).exists()
        published = (self.trial_folder(trial_id) / results.RESULT).exists()
        if (has_result and published) or not liveness.silent(folder, self.server_time()):
            return None
        start = liveness.read_start(folder)
        records = journal.read(folder / results.JOURNAL)
        host = start.owner if start else "an unknown host"
        how = "before its result was published" if has_result else "without a word"
        return Failure(
            failure="lost",
            cause=f"the worker on {host} died {how}",
            host=start.host if start else "",
            attempt=number,
            epoch=records[-1].epoch if records else None,
        )

    def not_ours(self, trial_id: str) -> str:
        """Why this user can begin no attempt at the trial, which another one began; else ""."""
        return permissions.not_writable(self.trial_folder(trial_id) / ATTEMPTS)

    def journal(self, trial_id: str) -> list[Record]:
        """The trial's records: the chain of its attempts, each cut where the next one resumed.

        Of a finished trial the chain ends with the attempt that has the result: another may have
        gone on beside it, where one that was taken for dead came back and finished first.
        """
        numbers = self.attempts(trial_id)
        finished = _finished_status(trial_id, self.trial_folder(trial_id) / results.RESULT)
        if finished is not None and finished.attempt in numbers:
            numbers.append(finished.attempt)
        for number in reversed(numbers):
            if records := self._chain(trial_id, number):
                return records
        return []

    def _chain(self, trial_id: str, number: int) -> list[Record]:
        folder = self.attempt_folder(trial_id, number)
        own = journal.read(folder / results.JOURNAL)
        start = liveness.read_start(folder)
        resumed = start.resumed_from if start else None
        if not own or resumed is None or resumed.attempt >= number:
            return own
        inherited = {r.epoch: r for r in own if r.epoch <= resumed.epoch}
        inherited.update(
            {r.epoch: r for r in self._chain(trial_id, resumed.attempt) if r.epoch <= resumed.epoch}
        )
        return sorted(inherited.values(), key=lambda r: r.epoch) + [
            r for r in own if r.epoch > resumed.epoch
        ]

    def state(self, trial: TrialSpec | str) -> TrialStatus:
        """The trial's state now. A spec saves reading spec.json for the number of epochs."""
        trial_id = trial if isinstance(trial, str) else trial.trial_id
        folder = self.trial_folder(trial_id)
        finished = _finished_status(trial_id, folder / results.RESULT)
        if finished is not None:
            return finished
        spec = self.spec(trial_id) if isinstance(trial, str) else trial
        epochs = spec.epochs if spec else 0
        numbers = self.attempts(trial_id)
        if not numbers:
            return TrialStatus(trial_id, "pending", epochs=epochs)
        return self._unfinished_status(trial_id, numbers[-1], epochs)

    def _unfinished_status(self, trial_id: str, number: int, epochs: int) -> TrialStatus:
        start = liveness.read_start(self.attempt_folder(trial_id, number))
        failure = self.failure_of(trial_id, number)
        records = self.journal(trial_id)
        last = records[-1] if records else None
        state: State = "running"
        if failure is not None:
            state = "stopped" if failure.failure in ("stopped", "lost", "moved") else "failed"
        status = TrialStatus(
            trial_id,
            state,
            attempt=number,
            epoch=last.epoch if last else None,
            epochs=epochs,
            test_accuracy=last.metrics.get("test/accuracy") if last else None,
            validation_accuracy=last.metrics.get("validation/accuracy") if last else None,
            cause=failure.cause if failure else "",
            owner=start.owner if start else "",
            user=start.user if start else "",
            host=start.host if start else "",
            gpu=start.gpu if start else "",
            images_per_second=last.metrics.get("images_per_second") if last else None,
            started_ms=start.time_ms if start else None,
            updated_ms=last.time_ms if last else None,
        )
        return self._within_epoch(status) if state == "running" else status

    def _within_epoch(self, status: TrialStatus) -> TrialStatus:
        """The status with the step of a running trial, and the age of its newest checkpoint."""
        now = self.server_time()
        numbers = reversed(self.attempts(status.trial_id))
        folders = [self.attempt_folder(status.trial_id, number) for number in numbers]
        written = next(filter(None, map(_checkpoint_time, folders)), None)
        if written is not None:
            status = replace(status, seconds_since_checkpoint=max(0.0, now - written))
        said = liveness.read_progress(folders[0], now) if folders else None
        if said is None or said.epoch != (status.epoch or 0) + 1:  # of an epoch that is over by now
            return status
        return replace(
            status, step=said.step, steps=said.steps, seconds_since_step=said.seconds_since_step
        )

    # -- clearing up -------------------------------------------------------------------------

    def discard(self, trial_id: str) -> Path:
        """Set a trial's folder aside, so that it runs again; returns where it went."""
        folder = self.trial_folder(trial_id)
        try:
            looked_at = folder.stat()
        except FileNotFoundError:
            raise UserError(f"trial {trial_id}: has no results in {self.root}") from None
        number = max(self.attempts(trial_id), default=0) + 1
        status = self.state(trial_id)
        try:
            if status.state == "running":
                raise FileExistsError
            # A claim like a worker's, so that none begins between the look and the move.
            fence = ownership.take(folder / ATTEMPTS, number, looked_at)
        except FileExistsError:
            raise UserError(
                f"trial {trial_id}: is running ({status.owner or 'just begun'}); stop it first: "
                f"bnsweep stop SWEEP --trial {trial_id}"
            ) from None
        aside = self.root / "discarded"
        aside.mkdir(exist_ok=True)
        number = 1
        while (aside / f"{trial_id}-{number}").exists():
            number += 1
        target = aside / f"{trial_id}-{number}"
        os.replace(folder, target)
        (target / fence.relative_to(folder)).rmdir()
        return target


def _checkpoint_time(attempt: Path) -> float | None:
    try:
        return (attempt / results.CHECKPOINT).stat().st_mtime
    except OSError:
        return None


def _finished_status(trial_id: str, path: Path) -> TrialStatus | None:
    """The state of a trial that has a result; else None."""
    try:
        result = results.parse_summary(files.read(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (files.NotAFile, ValueError):
        return _with_bad_result(trial_id, f"{path} is damaged")
    except OSError as error:
        said = permissions.denial(error) or f"{path}: cannot be read ({error.strerror})"
        raise UnreachableError(said) from error
    if result.trial_id != trial_id:
        return _with_bad_result(trial_id, f"{path} is another trial's")
    return TrialStatus(
        trial_id,
        "finished",
        attempt=result.attempt,
        epoch=result.epochs,
        epochs=result.epochs,
        test_accuracy=result.metrics.get("test/accuracy"),
        validation_accuracy=result.metrics.get("validation/accuracy"),
        started_ms=result.started_ms,
        updated_ms=result.finished_ms,
        seconds=result.seconds,
        packed=_count(result.numerics.get("packed")),
        processes=_count(result.numerics.get("processes")),
    )


def _count(recorded: object) -> int:
    """A number that older results lack."""
    return recorded if isinstance(recorded, int) else 1


def _with_bad_result(trial_id: str, what: str) -> TrialStatus:
    cause = f"{what}; resume sets it aside and trains the trial again"
    return TrialStatus(trial_id, "failed", cause=cause)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait while another process is in here with the same folder; the kernel lets go of a dead one.

    Not for ever: where locks are not to be had, as on some network mounts, or one that stands still
    has it, it goes on after a few seconds.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_POLL_S)
            except OSError:
                break
        yield
    finally:
        os.close(descriptor)


def _may_be_folder(path: Path) -> bool:
    """Whether it is a folder, or nobody can tell: what looks into it then says why."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
