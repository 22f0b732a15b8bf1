"""Sweeps and launches for Python programs and notebooks; the command line uses the same."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator import extensions
from orchestrator.errors import UnreachableError, UserError
from orchestrator.extensions import MLFLOW, RAY
from orchestrator.launching import driver, progress, ray_environment
from orchestrator.launching.driver import Launcher, Outcome
from orchestrator.launching.monitor import Observer
from orchestrator.launching.notify import Notifier
from orchestrator.launching.rounds import Order
from orchestrator.planning import plan as planning
from orchestrator.planning.plan import Plan
from orchestrator.settings import Settings, notify_url, sqlite_path
from orchestrator.settings import load as load_settings
from orchestrator.store import permissions
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec
from orchestrator.sweep.sweep_spec import SweepSpec
from orchestrator.tracking import mlflow_environment
from orchestrator.tracking.tracker import Tracker
from trainer.spec import TrialSpec


@dataclass(frozen=True)
class Sweep:
    """A sweep that was read and checked."""

    spec: SweepSpec

    @classmethod
    def load(cls, path: Path | str, *overrides: str, data: Path | None = None) -> Sweep:
        """The sweep in a file. `overrides`: `depth=14,32`. `data`: where folders of images are
        (BNSWEEP_DATA or ./data by default). Raises SweepError, a line a problem."""
        return cls(sweep_spec.load(path, overrides, data=data))

    @classmethod
    def parse(cls, text: str, *overrides: str) -> Sweep:
        """The sweep in a YAML text."""
        return cls(sweep_spec.parse(text, sweep_spec.TEXT, overrides))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Sweep:
        """The sweep that Python values describe, with a sweep file's keys; paths are from here.

        Raises SweepError, a line a problem, each with its key.
        """
        return cls(sweep_spec.of(values))

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
    launcher: Launcher | str = "",
    tracker: Tracker | str = "",
    order: Order | None = None,
    observer: Observer | None = None,
    notify: str = "",
) -> Outcome:
    """Run what of the sweep is missing or unfinished; running it again continues.

    Trials train through Ray, and what Ray and MLflow print goes to the launch's log. `inline`: in
    this process, without Ray. `launcher`: through an object of your own (see `Launcher` in
    orchestrator.launching.driver) or one that a package offers by name. `tracker`: an object or a
    name, too, that receives the metrics (see `Tracker` in orchestrator.tracking.tracker), not the
    MLflow of MLFLOW_TRACKING_URI. `order`: only some trials, failed ones again or not. `observer`:
    follows the launch (see `Observer` in orchestrator.launching.monitor, which itself shows
    nothing); by default a notebook shows it, and elsewhere lines on standard error. `notify`: a
    webhook that is told when the launch is done, has failed trials, stalls or stops; by default
    BNSWEEP_NOTIFY's or the settings file's; `off`: none.

    Raises UnreachableError where the store or Ray cannot be used, UserError for a request that
    no machine can meet, for an unknown name and for what is no web address.
    """
    settings, webhook = _settings(store, data), notify_url(notify)
    launcher, tracker = launcher or ("inline" if inline else RAY), tracker or MLFLOW
    if tracker == MLFLOW:
        _check_tracker(settings, through_ray=launcher == RAY)
    if launcher == RAY and (problem := ray_environment.problem()):
        raise UnreachableError(problem)
    # Made when they are needed: Ray and MLflow take seconds to load.
    make_launcher = _maker("launcher", launcher, sweep.spec.resources)
    make_tracker = _maker("tracker", tracker, settings)
    if tracker == MLFLOW:
        make_tracker = partial(connect_to_write, settings)
    with (
        contextlib.nullcontext(observer) if observer else progress.showing() as follower,
        Notifier(webhook, follower) as notifier,
    ):
        outcome = driver.launch(
            sweep.spec,
            settings,
            make_launcher,
            order=order,
            observer=notifier,
            tracker=make_tracker,
            output_to_log=launcher == RAY,
        )
        notifier.ended(outcome)
    return outcome


def connect(settings: Settings, tracker: str = MLFLOW) -> Tracker:
    """The tracker of this name; MLflow's is where the settings say. Raises UserError for an unknown
    name, UnreachableError where it cannot be reached."""
    made: Tracker = extensions.find("tracker", tracker)(settings)
    return made


def connect_to_write(settings: Settings, tracker: str = MLFLOW) -> Tracker:
    """The same for whoever sends it something. Raises UnreachableError also where the embedded
    database is another user's, in place of the pages that MLflow would print."""
    if tracker == MLFLOW and settings.embedded_tracker:
        database = sqlite_path(settings.tracking_uri)
        if why := permissions.not_writable(database):
            raise UnreachableError(f"{database}: {why}")
    return connect(settings, tracker)


def _maker(kind: extensions.Kind, given: Any, argument: Any) -> Callable[[], Any]:
    """What gives the launcher or tracker: that of a name, made of `argument`, or itself."""
    if not isinstance(given, str):
        return lambda: given
    make = extensions.find(kind, given)
    return lambda: make(argument)


def _check_tracker(settings: Settings, through_ray: bool) -> None:
    """Refuse an address that can never work, and SQLite in a store that several nodes write: its
    locks do not hold there."""
    if problem := mlflow_environment.problem(settings.tracking_uri):
        raise UserError(problem)
    if through_ray and settings.embedded_tracker and os.environ.get("RAY_ADDRESS"):
        raise UserError(
            "MLFLOW_TRACKING_URI: is not set; on a cluster (RAY_ADDRESS is set) it must name an "
            "MLflow server, since the store's own database serves one machine only"
        )


def _settings(store: Path | str | None, data: Path | str | None = None) -> Settings:
    return load_settings(Path(store) if store else None, Path(data) if data else None)
