"""A backlog of journals drained into MLflow on SQLite, against bare `log_batch` calls."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measuring import Case, interleave
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from orchestrator.settings import Settings
from orchestrator.store import liveness, ownership
from orchestrator.store.failures import Failure
from orchestrator.store.store import Store
from orchestrator.tracking import mlflow_tracker
from orchestrator.tracking.forwarder import Forwarder
from orchestrator.tracking.tracker import params_of, points_of
from trainer import journal, results
from trainer.journal import Record
from trainer.spec import TrialSpec

METRICS = ("train/loss", "train/accuracy", "test/loss", "test/accuracy", "lr", "images_per_second")


def cases(rounds: int, runs: int, epochs: int) -> Iterator[Case]:
    """Points a second, runs created and params sent on both sides."""
    specs = [TrialSpec(lr=(n + 1) / 1000, epochs=epochs) for n in range(runs)]
    records = [_record(epoch) for epoch in range(epochs + 1)]
    points = runs * len(points_of(records))
    with tempfile.TemporaryDirectory() as made:
        empty = _settings(Path(made))
        mlflow_tracker.connect(empty).check(120.0)

        def measured(way: str) -> float:
            with tempfile.TemporaryDirectory() as folder:
                settings = _settings(Path(folder))
                shutil.copy(Path(made) / "mlflow.db", folder)
                drain = _forward if way == "forwarder" else _bare
                return points / drain(settings, specs, records)

        case = Case(
            f"{runs} runs of {epochs} epochs to MLflow",
            "points/s",
            "bare log_batch",
            goals={"forwarder": 0.6},
        )
        variants = {name: lambda name=name: measured(name) for name in (case.baseline, "forwarder")}
        yield interleave(case, variants, rounds)


def _settings(folder: Path) -> Settings:
    return Settings(folder, folder, f"sqlite:///{folder / 'mlflow.db'}", embedded_tracker=True)


def _record(epoch: int) -> Record:
    metrics = {name: epoch + number / 10 for number, name in enumerate(METRICS)}
    return Record(
        seq=epoch, time_ms=1_000_000 + epoch, step=epoch, epoch=epoch, attempt=1, metrics=metrics
    )


def _forward(settings: Settings, specs: list[TrialSpec], records: list[Record]) -> float:
    store = Store(settings.store)
    store.open_for_writing()
    for spec in specs:
        claim = ownership.claim(store, spec, liveness.this_process("bench", 1))
        assert claim is not None
        journal.append(claim.folder / results.JOURNAL, records)
        ownership.fail(claim, Failure(failure="stopped", cause="a benchmark"))
    forwarder = Forwarder(store, "bench", specs, mlflow_tracker.connect(settings))
    start = time.perf_counter()
    backlog = forwarder.drain(3600)
    seconds = time.perf_counter() - start
    assert backlog.empty, backlog
    forwarder.close()
    return seconds


def _bare(settings: Settings, specs: list[TrialSpec], records: list[Record]) -> float:
    client = MlflowClient(settings.tracking_uri)
    metrics = [Metric(p.key, p.value, p.time_ms, p.step) for p in points_of(records)]
    start = time.perf_counter()
    experiment = client.create_experiment("bench")
    for spec in specs:
        run = client.create_run(experiment, run_name=spec.trial_id).info.run_id
        client.log_batch(run, params=[Param(*item) for item in params_of(spec).items()])
        for first in range(0, len(metrics), 1000):
            client.log_batch(run, metrics=metrics[first : first + 1000])
        client.set_terminated(run)
    return time.perf_counter() - start
