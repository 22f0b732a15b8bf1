"""Sweeps and launches for Python programs and notebooks; the command line uses the same."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.launching import driver
from orchestrator.launching.driver import InlineLauncher, Launcher, Outcome
from orchestrator.launching.monitor import Observer
from orchestrator.launching.rounds import Order
from orchestrator.planning import plan as planning
from orchestrator.planning.plan import Plan
from orchestrator.settings import Settings
from orchestrator.settings import load as load_settings
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec
from orchestrator.sweep.resources import Resources
from orchestrator.sweep.sweep_spec import SweepSpec
from orchestrator.tracking.tracker import Tracker
from trainer.spec import TrialSpec


@dataclass(frozen=True)
class Sweep:
    """A sweep file that was read and checked."""

    spec: SweepSpec

    @classmethod
    def load(cls, path: Path | str, *overrides: str) -> Sweep:
        """The sweep in a file. `overrides`: `depth=14,32`. Raises SweepError, a line a problem."""
        return cls(sweep_spec.load(path, overrides))

    @classmethod
    def parse(cls, text: str, *overrides: str) -> Sweep:
        """The sweep in a YAML text."""
        return cls(sweep_spec.parse(text, "text", overrides))

    @property
    def name(self) -> str:
        """The sweep's name, which is also its MLflow experiment's."""
        return self.spec.name

    @property
    def trials(self) -> tuple[TrialSpec, ...]:
        """The trials in order."""
        return self.spec.trials

    def plan(self, store: Path | str | None = None) -> Plan:
        """What a launch would do over the store (BNSWEEP_STORE or ./runs by default)."""
        return planning.make(self.spec, Store(_settings(store).store))


def launch(
    sweep: Sweep,
    *,
    store: Path | str | None = None,
    data: Path | str | None = None,
    inline: bool = False,
    launcher: Launcher | None = None,
    tracker: Tracker | None = None,
    order: Order | None = None,
    observer: Observer | None = None,
) -> Outcome:
    """Run what of the sweep is missing or unfinished; running it again continues.

    Trials train through Ray, and what Ray and MLflow print goes to the launch's log. `inline`: in
    this process, without Ray. `launcher`: through an object of your own (see `Launcher` in
    orchestrator.launching.driver). `tracker`: an object of your own receives the metrics (see
    `Tracker` in orchestrator.tracking.tracker), not the MLflow of MLFLOW_TRACKING_URI. `order`:
    only some trials, failed ones again or not. `observer`: follows the launch (see `Observer` in
    orchestrator.launching.monitor).

    Raises UnreachableError where the store or Ray cannot be used, UserError for a request that
    no machine can meet.
    """
    settings = _settings(store, data)
    through_ray = not inline and launcher is None
    if through_ray and tracker is None:
        _check_tracker(settings)

    def make_launcher() -> Launcher:
        return launcher or (InlineLauncher() if inline else _ray_launcher(sweep.spec.resources))

    return driver.launch(
        sweep.spec,
        settings,
        make_launcher,
        order=order,
        observer=observer,
        tracker=tracker or (lambda: connect(settings)),
        output_to_log=through_ray,
    )


def connect(settings: Settings) -> Tracker:
    """The tracker that the settings name."""
    from orchestrator.tracking import mlflow_tracker  # heavy: loads MLflow

    return mlflow_tracker.connect(settings)


def _ray_launcher(resources: Resources) -> Launcher:
    from orchestrator.launching.ray_launcher import RayLauncher  # heavy: loads Ray

    return RayLauncher(resources)


def _check_tracker(settings: Settings) -> None:
    """Refuse SQLite in a store that several nodes write: its locks do not hold there."""
    if settings.embedded_tracker and os.environ.get("RAY_ADDRESS"):
        raise UserError(
            "MLFLOW_TRACKING_URI: is not set; on a cluster (RAY_ADDRESS is set) it must name an "
            "MLflow server, since the store's own database serves one machine only"
        )


def _settings(store: Path | str | None, data: Path | str | None = None) -> Settings:
    return load_settings(Path(store) if store else None, Path(data) if data else None)
