"""How long a command line takes, each in a process of its own, on a store with many trials.

The baseline is a Python that imports what a command line of this kind cannot do without.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measuring import Case, interleave

from orchestrator.store.records import Launch
from orchestrator.store.store import Store
from trainer import results
from trainer.spec import TrialSpec

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "orchestrator"))

from made_results import made  # noqa: E402  # as the tests make them

GOALS_S = {"--help": 0.3, "plan": 3.0, "status": 2.0, "launch with nothing to do": 2.0}
SWEEP = """
name: many
recipe: cifar10
axes: {depth: [14, 20, 32, 44, 56], width: [1, 2], trainable: [all, bn_only]}
seeds: %d
"""
CONFIGURATIONS = 20


def cases(rounds: int, trials: int) -> Iterator[Case]:
    """Commands a second; the notes have the seconds and the goals for 10,000 trials."""
    with tempfile.TemporaryDirectory() as folder:
        yield _case(Path(folder), rounds, trials)


def _case(folder: Path, rounds: int, trials: int) -> Case:
    file = folder / "many.yaml"
    file.write_text(SWEEP % (trials // CONFIGURATIONS))
    few = folder / "few.yaml"
    few.write_text(SWEEP.replace("many", "few") % 1)
    store = str(folder / "runs")
    command = [sys.executable, "-m", "orchestrator.cli"]
    case = Case(f"commands on {trials:,} finished trials", "1/s", "python with typer and pydantic")
    variants = {
        case.baseline: [sys.executable, "-c", "import pydantic, typer"],
        "--help": [*command, "--help"],
        "plan": [*command, "plan", str(file), "--store", str(folder / "empty")],
        "status": [*command, "status", "many", "--store", store],
        "launch with nothing to do": [*command, "launch", str(few), "--store", store, "-y"],
    }
    _fill(folder, file, few, trials)
    interleave(case, {name: _timed(line, folder) for name, line in variants.items()}, rounds)
    for name, goal in GOALS_S.items():
        case.notes.append(f"{name}: {1 / case.median(name):.2f} s (goal {goal:g})")
    return case


def _timed(line: list[str], folder: Path) -> Callable[[], float]:
    environment = {
        **os.environ,
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": "",
        "BNSWEEP_DATA": str(folder / "data"),
    }

    def measure() -> float:
        start = time.perf_counter()
        subprocess.run(line, env=environment, cwd=folder, check=True, capture_output=True)
        return 1 / (time.perf_counter() - start)

    return measure


def _fill(folder: Path, file: Path, few: Path, trials: int) -> None:
    """A store in which the sweep of each file is finished, written without training or fsync."""
    from orchestrator.sweep import sweep_spec

    store = Store(folder / "runs")
    store.open_for_writing()
    for path in (file, few):
        loaded = sweep_spec.load(path)
        launch = Launch(sweep=loaded, number=0, time_ms=1, host="bench")
        store.record_launch(launch)
        for spec in loaded.trials:
            _finish(store, spec)


def _finish(store: Store, spec: TrialSpec) -> None:
    folder = store.trial_folder(spec.trial_id)
    attempt = store.attempt_folder(spec.trial_id, 1)
    if attempt.exists():
        return
    attempt.mkdir(parents=True)
    (folder / results.SPEC).write_text(spec.model_dump_json() + "\n")
    (attempt / results.RESULT).write_bytes(results.content_of(made(spec)))
    os.link(attempt / results.RESULT, folder / results.RESULT)
