"""The tracker that is MLflow: a server (http), or a database that this process writes itself.

The only import of mlflow. Foreign errors become ours here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.tracking import mlflow_environment, moved_store

mlflow_environment.prepare()  # MLflow reads some of it when it is imported

# ruff: noqa: E402
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from orchestrator.errors import BnsweepError, UnreachableError, UserError
from orchestrator.settings import Settings, sqlite_address, sqlite_path
from orchestrator.tracking.shown import NOTE, TAG_CONFIG_NAME
from orchestrator.tracking.tracker import (
    TAG_STORE,
    TAG_TRIAL,
    Data,
    Experiment,
    Point,
    Refused,
    Run,
    RunGone,
    Status,
    Tracker,
)
from trainer import files

PAGE = 1000
READERS = 8
"""Requests that are under way at once where much is read from a server."""
_KIND, _TRAINING, _GUESSED = "mlflow.experimentKind", "custom_model_development", "_inferred"
"""Which of MLflow's two sets of pages an experiment opens in; its pages guess where nobody said."""
_PAGES = "machine_learning"
"""The same in a link: a browser that has seen the other pages last shows those again."""
_VIEW_TAG = "mlflow.sharedViewState."
"""Begins the tag of a view of an experiment's runs, kept as MLflow's pages keep one that was saved:
in its menu of views and for links to it."""
_LIST, _CHARTS = "bnsweep", "bnsweep-configurations"
_BY_CONFIGURATION = {
    "aggregateFunction": "average",
    "groupByKeys": [{"mode": "tag", "groupByData": TAG_CONFIG_NAME}],
}
_RUNS_DRAWN = "FIRST_20_RUNS"
_FORBIDDEN = ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED")
_REJECTED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE")


def connect(settings: Settings) -> MlflowTracker:
    """The tracker that the settings name. Talks to no server yet, so it never blocks."""
    tracker = MlflowTracker(settings.tracking_uri, settings.artifact_root)
    if settings.embedded_tracker:
        database = sqlite_path(settings.tracking_uri)
        tracker.create_database(database)
        moved_store.follow(database, settings.artifact_root)
    return tracker


class MlflowTracker(Tracker):
    """`artifact_root` is used where no server decides where artifacts lie."""

    def __init__(self, uri: str, artifact_root: Path) -> None:
        self._uri, self._artifact_root = uri, artifact_root
        if problem := mlflow_environment.problem(uri):
            raise UserError(problem)
        self.address = mlflow_environment.address_of(uri)
        self._is_server = mlflow_environment.is_server(uri)
        self._artifact_uris: dict[str, str] = {}
        """Where each run's artifacts lie, so that an upload need not ask."""

    @cached_property
    def _client(self) -> MlflowClient:
        with self._translated():
            return MlflowClient(tracking_uri=self._uri)

    def create_database(self, path: Path) -> None:
        """Make the SQLite file `path` where there is none: whole, or not at all.

        MLflow takes seconds for its tables, and two processes that make them at once leave a
        database that never works.
        """
        if path.exists():
            return
        with self._translated(), TemporaryDirectory(dir=path.parent, prefix=".mlflow.") as folder:
            made = Path(folder) / path.name
            MlflowClient(tracking_uri=sqlite_address(made)).search_experiments(max_results=1)
            files.write_once(path, made.read_bytes())

    def check(self, timeout_s: float) -> None:
        with self._translated():
            if not self._is_server:
                self._client.search_experiments(max_results=1)
                return
            response = http_request(
                get_default_host_creds(self._uri),
                "/api/2.0/mlflow/experiments/search",
                "POST",
                max_retries=0,
                timeout=timeout_s,
                json={"max_results": 1},
            )
        if response.status_code in (401, 403):
            raise UnreachableError(self._refusal(f"status {response.status_code}"))
        if response.status_code != 200:
            raise UnreachableError(
                f"MLflow at {self.address}: answers with status {response.status_code}"
            )

    def open(self, sweep: str) -> Experiment:
        with self._translated():
            found = self._client.get_experiment_by_name(sweep)
            restored = found is not None and found.lifecycle_stage == "deleted"
            if found is None:
                found = self._create_experiment(sweep)
            elif restored:
                self._client.restore_experiment(found.experiment_id)
            if found.tags.get(_KIND, _GUESSED).endswith(_GUESSED):
                self._client.set_experiment_tag(found.experiment_id, _KIND, _TRAINING)
            key = f"{self.address}#{found.experiment_id}@{found.creation_time}"
            return Experiment(found.experiment_id, key, restored)

    def _create_experiment(self, sweep: str) -> Any:
        location = None if self._is_server else (self._artifact_root / sweep).as_uri()
        try:
            self._client.create_experiment(sweep, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was first
                raise
        return self._client.get_experiment_by_name(sweep)

    def describe(self, experiment: Experiment, text: str) -> None:
        with self._translated():
            self._client.set_experiment_tag(experiment.id, NOTE, text)

    def introduce(
        self, experiment: Experiment, text: str, metrics: Sequence[str], params: Sequence[str]
    ) -> None:
        columns = [f"metrics.`{name}`" for name in metrics]
        columns += [f"params.`{name}`" for name in params]
        state = {"selectedColumns": columns, "runsHiddenMode": _RUNS_DRAWN}
        grouped = {**state, "groupBy": _BY_CONFIGURATION}
        with self._translated():
            there = self._client.get_experiment(experiment.id)
            tags = {
                f"{_VIEW_TAG}{_LIST}": _saved("What varies", there.creation_time, state),
                f"{_VIEW_TAG}{_CHARTS}": _saved("Configurations", there.creation_time, grouped),
            }
            tags |= {NOTE: text} if text and not there.tags.get(NOTE) else {}
            for name, value in tags.items():
                if there.tags.get(name) != value:
                    self._client.set_experiment_tag(experiment.id, name, value)

    def runs(self, experiment: Experiment, store_id: str, trial_id: str = "") -> Iterator[Run]:
        wanted = f"tags.`{TAG_STORE}` = '{store_id}'"
        if trial_id:
            wanted += f" and tags.`{TAG_TRIAL}` = '{trial_id}'"
        token: str | None = None
        while True:
            with self._translated():
                page = self._client.search_runs(
                    [experiment.id],
                    wanted,
                    ViewType.ACTIVE_ONLY,
                    max_results=PAGE,
                    order_by=["attributes.start_time ASC"],
                    page_token=token,
                )
            # runs that began in one millisecond need an order that all processes agree on
            yield from sorted(map(_run, page), key=lambda run: (run.started_ms, run.run_id))
            token = page.token
            if not token:
                return

    def create(
        self, experiment: Experiment, name: str, tags: Mapping[str, str], started_ms: int
    ) -> str:
        with self._translated():
            run = self._client.create_run(experiment.id, started_ms, dict(tags), name)
            self._artifact_uris[run.info.run_id] = run.info.artifact_uri
            return str(run.info.run_id)

    def send(
        self,
        run_id: str,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        with self._translated():
            self._client.log_batch(
                run_id,
                metrics=[Metric(*point) for point in points],
                params=[Param(name, value) for name, value in (params or {}).items()],
                tags=[RunTag(name, value) for name, value in (tags or {}).items()],
            )

    def add_data(self, run_id: str, data: Data) -> None:
        dataset = Dataset(
            data.name,
            data.digest,
            source_type="local",
            source=json.dumps({"uri": data.name}),
            profile=json.dumps({f"{split}_images": n for split, n in data.images.items()}),
        )
        splits = InputTag("mlflow.data.context", ", ".join(data.images) or "training, test")
        with self._translated():
            self._client.log_inputs(run_id, [DatasetInput(dataset, [splits])])

    def upload(self, run_id: str, path: Path, folder: str = "") -> None:
        with self._translated():
            uri = self._artifact_uris.get(run_id)
            if uri is None:
                uri = self._client.get_run(run_id).info.artifact_uri
                self._artifact_uris[run_id] = uri
            place = get_artifact_repository(uri, tracking_uri=self._uri)
            place.log_artifact(str(path), folder or None)

    def set_status(self, run_id: str, status: Status, ended_ms: int | None) -> None:
        with self._translated():
            if ended_ms is None:
                self._client.update_run(run_id, status)
            else:
                self._client.set_terminated(run_id, status, ended_ms)

    def restore(self, run_id: str) -> bool:
        try:
            with self._translated():
                self._client.restore_run(run_id)
        except (RunGone, Refused):
            return False
        return True

    def remove(self, run_id: str) -> None:
        try:
            with self._translated():
                self._client.delete_run(run_id)
        except RunGone:
            return

    def points(self, run_id: str) -> list[Point]:
        # A server is asked for each metric; what takes long is the way there, so side by side.
        with self._translated(), ThreadPoolExecutor(READERS) as readers:
            keys = list(self._client.get_run(run_id).data.metrics)
            each = readers.map if self._is_server else map
            histories = each(lambda key: self._client.get_metric_history(run_id, key), keys)
            return [
                Point(metric.key, metric.value, metric.timestamp, metric.step)
                for history in histories
                for metric in history
            ]

    def artifacts(self, run_id: str) -> list[str]:
        paths: list[str] = []
        folders: list[str | None] = [None]
        with self._translated():
            while folders:
                for entry in self._client.list_artifacts(run_id, folders.pop()):
                    (folders if entry.is_dir else paths).append(entry.path)
        return sorted(paths)

    def experiment_url(self, sweep: str, base: str = "") -> str:
        base = self.address if self._is_server else base
        if not base:
            return ""
        experiment = self.open(sweep)
        with self._translated():
            tags = self._client.get_experiment(experiment.id).tags
        view = f"viewStateShareKey={_CHARTS}&" if f"{_VIEW_TAG}{_CHARTS}" in tags else ""
        shown = f"workflowType={_PAGES}&{view}compareRunsMode=CHART"
        return f"{base.rstrip('/')}/#/experiments/{experiment.id}/runs?{shown}"

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except BnsweepError:
            raise
        except MlflowException as error:
            raise self._meaning(error) from error
        except Exception as error:  # requests, SQLAlchemy, an artifact store's own client
            raise UnreachableError(f"MLflow at {self.address}: {_line(error)}") from error

    def _meaning(self, error: MlflowException) -> BnsweepError:
        code, text = error.error_code, _line(error)
        if code == "RESOURCE_DOES_NOT_EXIST" or "must be in the 'active' state" in text:
            return RunGone(text)
        if code in _FORBIDDEN:
            return UnreachableError(self._refusal(text))
        if code in _REJECTED:
            return Refused(f"MLflow at {self.address} rejects: {text}")
        if reason := _refused_connection(error):
            return UnreachableError(f"MLflow at {self.address}: cannot be reached ({reason})")
        return UnreachableError(f"MLflow at {self.address}: {text}")

    def _refusal(self, text: str) -> str:
        return (
            f"MLflow at {self.address}: refuses access ({text}); "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )


def _run(run: MlflowRun) -> Run:
    info, data = run.info, run.data
    return Run(
        run_id=info.run_id,
        name=info.run_name,
        status=info.status,
        started_ms=info.start_time,
        ended_ms=info.end_time,
        params=data.params,
        tags=data.tags,
        latest=data.metrics,
    )


def _saved(name: str, time_ms: int, state: Mapping[str, Any]) -> str:
    """A saved view as MLflow's pages write it."""
    times = {"createdAt": time_ms, "updatedAt": time_ms}
    return json.dumps({"name": name, **times, "state": json.dumps(state)})


def _line(error: Exception) -> str:
    """The error in one line of bearable length, without the credentials of an address in it."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"//[^/@\s]+@", "//", text)
    return text if len(text) <= 300 else f"{text[:297]}..."


def _refused_connection(error: BaseException) -> str:
    """The system's words where no connection came about; empty for any other error."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror.lower()
        found = found.__cause__ or found.__context__
    return ""
