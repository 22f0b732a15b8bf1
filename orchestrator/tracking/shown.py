"""What a run and its experiment show a person: names, tags and texts that MLflow's pages look for.

Nothing here is held against the folder. It is sent once, when a run is made or is complete, and
never again: runs of an older version stay as they are, and what a person edits stays edited.
"""

from __future__ import annotations

import shlex
from functools import lru_cache

from orchestrator.store import liveness
from orchestrator.store.liveness import Start
from orchestrator.store.records import Launch
from orchestrator.store.store import Store
from orchestrator.sweep import python_values
from orchestrator.sweep.labels import labels, without_seed
from orchestrator.sweep.sweep_spec import TEXT
from orchestrator.tracking.tracker import Data
from trainer.data_sets import data_set
from trainer.results import FREEZE_PROOF, ResultSummary
from trainer.spec import TrialSpec

TAG_CONFIG_NAME = "config"
"""The short name of a run's configuration, to group the runs of all its seeds by."""
NOTE = "mlflow.note.content"
FIRST_METRICS = ("test/accuracy", "train/accuracy")
"""Of all that a run has, those beside which the fields that vary are shown."""
_NO_FILES = (python_values.PLACE, TEXT)
_DIGEST_CHARACTERS = 16
"""Of the 36 that MLflow keeps."""


class Shown:
    """The words for the runs of one sweep."""

    def __init__(self, store: Store, sweep: str) -> None:
        self._store, self._sweep = store, sweep
        self._labels: dict[str, str] = {}
        self._launch = lru_cache(maxsize=8)(store.launch)  # a record of 10,000 trials is large

    def name(self, spec: TrialSpec) -> str:
        """What a list of runs shows: `d14 bn_only s0`, the fields in which the sweep's trials
        differ."""
        if spec.trial_id not in self._labels:
            self._labels = labels([*self._store.launched(self._sweep), spec])
        return self._labels[spec.trial_id]

    def tags(self, spec: TrialSpec) -> dict[str, str]:
        """The tags that a run is made with, beside those that the audit looks at."""
        start = self._first_start(spec)
        launch = self._launch(start.sweep, start.launch) if start and start.launch else None
        tags = {
            TAG_CONFIG_NAME: without_seed(self.name(spec), spec),
            NOTE: _note(spec, launch),
            "mlflow.user": start.user if start else "",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.name": _file_of(launch) if launch else "",
            "mlflow.source.git.commit": launch.commit if launch else "",
        }
        return {name: value for name, value in tags.items() if value}

    def _first_start(self, spec: TrialSpec) -> Start | None:
        numbers = self._store.attempts(spec.trial_id)
        folder = self._store.attempt_folder(spec.trial_id, numbers[0]) if numbers else None
        return liveness.read_start(folder) if folder else None

    def experiment(self) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """The text above the runs, and the metrics and params that the list of them shows: the
        fields that vary."""
        launch = self._store.newest_launch(self._sweep)
        axes = launch.sweep.axes if launch else ()
        return about(launch) if launch else "", FIRST_METRICS, (*axes, "seed")


def about(launch: Launch) -> str:
    """A sweep in Markdown: its description, how many trials, and what was typed."""
    lines = [launch.sweep.description] if launch.sweep.description else []
    trials = len(launch.specs)
    lines.append(f"{trials} trial{'' if trials == 1 else 's'}{_command_below(launch)}")
    return "\n\n".join(lines)


def _note(spec: TrialSpec, launch: Launch | None) -> str:
    of = f" of sweep {launch.sweep.name}" if launch else ""
    command = _command_below(launch) if launch else ""
    proof = f"`{FREEZE_PROOF}` among the artifacts names the tensors that were to be trained"
    proof += ", and those that changed."
    return f"Trial `{spec.trial_id}`{of}{command}\n\n{proof}"


def _command_below(launch: Launch) -> str:
    """After words of what was launched: the command; or a full stop, where there was none."""
    if command := command_of(launch):
        return f", launched with\n\n```\n{command}\n```"
    return "."


def command_of(launch: Launch) -> str:
    """The command line that launches the same again; empty for a sweep of Python values."""
    if not (file := _file_of(launch)):
        return ""
    options = [word for override in launch.sweep.overrides for word in ("--set", override)]
    return shlex.join(["bnsweep", "launch", file, *options])


def _file_of(launch: Launch) -> str:
    name = launch.sweep.filename
    return "" if name in _NO_FILES else name


def counts_of(result: ResultSummary) -> dict[str, str]:
    """A finished trial's numbers of parameters as params, named as in `plan --json`."""
    return {f"params_{name}": str(number) for name, number in result.counts}


def data_of(spec: TrialSpec, result: ResultSummary) -> Data:
    """A finished trial's data set."""
    record = data_set(spec.dataset)
    images = {
        "training": spec.train_subset or max(0, record.train_images - spec.validation),
        "validation": spec.validation,
        "test": record.test_images,
    }
    name = spec.data_id or spec.dataset
    known = {split: number for split, number in images.items() if number}
    return Data(name, result.digests.get("data", "")[:_DIGEST_CHARACTERS], known)
