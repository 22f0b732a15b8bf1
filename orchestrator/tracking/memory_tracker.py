"""The tracker that only remembers: for tests, and to see what the forwarder does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.errors import UnreachableError
from orchestrator.tracking.tracker import (
    POINTS_A_CALL,
    TAG_STORE,
    Data,
    Experiment,
    Point,
    Refused,
    Run,
    RunGone,
    Status,
    Tracker,
)


class MemoryTracker(Tracker):
    """Keeps everything in this process. `down` makes every call fail like a dead server."""

    def __init__(self) -> None:
        self.address = "memory"
        self.down = False
        self.calls: list[str] = []
        """Names of the calls that reached the tracker, in order."""
        self.descriptions: dict[str, str] = {}
        """The experiments' texts, by key."""
        self.columns: dict[str, tuple[str, ...]] = {}
        """What their runs are listed by."""
        self.data: dict[str, set[tuple[str, str]]] = {}
        """Names and digests of each run's data sets."""
        self._experiments: dict[str, Experiment] = {}
        self._runs: dict[str, tuple[Experiment, Run]] = {}
        self._deleted: set[str] = set()
        self._points: dict[str, dict[Any, Point]] = {}
        self._files: dict[str, dict[str, bytes]] = {}

    def _call(self, name: str) -> None:
        if self.down:
            raise UnreachableError(f"tracker {self.address}: is down")
        self.calls.append(name)

    def _run(self, run_id: str) -> Run:
        if run_id not in self._runs or run_id in self._deleted:
            raise RunGone(f"run {run_id}: is not there")
        return self._runs[run_id][1]

    def _change(self, run_id: str, **fields: Any) -> None:
        self._runs[run_id] = (self._runs[run_id][0], replace(self._run(run_id), **fields))

    def check(self, timeout_s: float) -> None:  # noqa: ARG002
        self._call("check")

    def open(self, sweep: str) -> Experiment:
        self._call("open")
        key = str(len(self._experiments) + 1)
        return self._experiments.setdefault(sweep, Experiment(key, f"{id(self)}#{key}"))

    def describe(self, experiment: Experiment, text: str) -> None:
        self._call("describe")
        self.descriptions[experiment.key] = text

    def introduce(
        self, experiment: Experiment, text: str, metrics: Sequence[str], params: Sequence[str]
    ) -> None:
        self._call("introduce")
        self.descriptions.setdefault(experiment.key, text)
        self.columns[experiment.key] = (*metrics, *params)

    def runs(self, experiment: Experiment, store_id: str, trial_id: str = "") -> Iterator[Run]:
        self._call("runs")
        for place, run in list(self._runs.values()):
            mine = place.key == experiment.key and run.tags.get(TAG_STORE) == store_id
            if mine and run.run_id not in self._deleted and trial_id in ("", run.trial_id):
                by_step = sorted(self._points[run.run_id].values(), key=lambda point: point.step)
                yield replace(run, latest={point.key: point.value for point in by_step})

    def create(
        self, experiment: Experiment, name: str, tags: Mapping[str, str], started_ms: int
    ) -> str:
        self._call("create")
        run_id = f"run-{len(self._runs)}"
        run = Run(run_id, name, "RUNNING", started_ms, tags=dict(tags))
        self._runs[run_id] = (experiment, run)
        self._points[run_id], self._files[run_id] = {}, {}
        return run_id

    def send(
        self,
        run_id: str,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._call("send")
        run = self._run(run_id)
        if len(points) > POINTS_A_CALL:
            raise Refused(f"{len(points)} points in one call; allowed: {POINTS_A_CALL}")
        changed = {k for k, v in (params or {}).items() if run.params.get(k, v) != v}
        if changed:
            raise Refused(f"run {run_id}: params cannot change: {sorted(changed)}")
        self._points[run_id].update({point.identity: point for point in points})
        self._change(
            run_id, params={**run.params, **(params or {})}, tags={**run.tags, **(tags or {})}
        )

    def add_data(self, run_id: str, data: Data) -> None:
        self._call("add_data")
        self._run(run_id)
        self.data.setdefault(run_id, set()).add((data.name, data.digest))

    def upload(self, run_id: str, path: Path, folder: str = "") -> None:
        self._call("upload")
        self._run(run_id)
        self._files[run_id][f"{folder}/{path.name}".lstrip("/")] = path.read_bytes()

    def set_status(self, run_id: str, status: Status, ended_ms: int | None) -> None:
        self._call("set_status")
        self._change(run_id, status=status, ended_ms=ended_ms)

    def restore(self, run_id: str) -> bool:
        self._call("restore")
        self._deleted.discard(run_id)
        return run_id in self._runs

    def remove(self, run_id: str) -> None:
        self._call("remove")
        self._deleted.add(run_id)

    def points(self, run_id: str) -> list[Point]:
        self._call("points")
        self._run(run_id)
        return list(self._points[run_id].values())

    def artifacts(self, run_id: str) -> list[str]:
        self._call("artifacts")
        self._run(run_id)
        return sorted(self._files[run_id])

    def experiment_url(self, sweep: str, base: str = "") -> str:  # noqa: ARG002
        return ""
