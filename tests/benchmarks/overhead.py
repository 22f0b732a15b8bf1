"""No-op trials through bare Ray Tune and through the orchestrator, each in a process of its own.

The orchestrator's trials are real ones of zero epochs (a network is built and tested once), since
its path has no place for a trial that does nothing; what they take by themselves is measured, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measuring import Case, interleave

from trainer.spec import TrialSpec

ROOT = Path(__file__).parents[2]


def cases(rounds: int, trials: int) -> Iterator[Case]:
    """Trials a second, from before Ray starts to after it has ended."""
    case = Case(
        f"{trials} no-op trials",
        "trials/s",
        "bare Ray Tune",
        goals={"orchestrator, less the trials": 0.5},
    )
    memory: list[int] = []
    alone: list[float] = []

    def ours() -> float:
        found = _in_a_process("ours", trials)
        memory.append(found["driver_bytes"])
        alone.append(_in_a_process("trials", trials)["seconds"])
        case.add("orchestrator, less the trials", trials / (found["seconds"] - alone[-1]))
        return trials / found["seconds"]

    bare = lambda: trials / _in_a_process("bare", trials)["seconds"]  # noqa: E731
    interleave(case, {case.baseline: bare, "orchestrator": ours}, rounds)
    case.notes.append(f"driver: at most {max(memory) / 1e6:.0f} MB (goal 1000)")
    case.notes.append(
        f"the trials by themselves, on all cores: {sorted(alone)[len(alone) // 2]:.1f} s"
    )
    yield case


def _in_a_process(what: str, trials: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "HOME": folder,
            "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}",
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "BNSWEEP_CACHE": str(Path.home() / ".cache" / "bnsweep"),
        }
        command = [sys.executable, __file__, what, str(trials), folder]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{what}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def specs(trials: int) -> list[TrialSpec]:
    """The least that can be trained: the shallowest network on 8x8 images, tested once."""
    return [
        TrialSpec(
            depth=8, dataset="synthetic", image_size=8, crop_padding=1, epochs=0, lr=(n + 1) / 1000
        )
        for n in range(trials)
    ]


def bare(trials: int, folder: Path) -> float:
    start = time.perf_counter()
    import ray
    from ray import tune

    def nothing(config: dict[str, int]) -> None:
        tune.report({"ended": 1})

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    tune.Tuner(
        tune.with_resources(nothing, {"cpu": 1}),
        param_space={"number": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder / "bare"), verbose=0),
    ).fit()
    ray.shutdown()
    return time.perf_counter() - start


def ours(trials: int, folder: Path) -> float:
    from orchestrator import settings
    from orchestrator.launching import driver
    from orchestrator.launching.ray_launcher import RayLauncher
    from orchestrator.store.store import Store
    from orchestrator.sweep.resources import Resources
    from orchestrator.sweep.sweep_spec import SweepSpec
    from orchestrator.tracking import mlflow_tracker

    here = settings.load(store=folder / "runs", data=folder / "data")
    planned = specs(trials)
    start = time.perf_counter()
    outcome = driver.launch(
        SweepSpec(name="noop", trials=planned),
        here,
        lambda: RayLauncher(Resources()),
        tracker=lambda: mlflow_tracker.connect(here),
        output_to_log=True,
    )
    seconds = time.perf_counter() - start
    if outcome.counts["finished"] != trials:
        log = Store(here.store).launch_log("noop", outcome.launch)
        raise RuntimeError(f"{outcome.counts}: {log.read_text()[-2000:]}")
    if outcome.backlog.trials:
        print(f"{outcome.backlog} left to send", file=sys.stderr)
    return seconds


def peak_bytes() -> int:
    """The most memory of this process so far; `getrusage` would give the parent's, if larger."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def by_themselves(trials: int, folder: Path) -> float:
    """The trainer on the same specs, in one process; divided over the cores."""
    from trainer.train import Options, train

    options = Options(data=folder / "data", device="cpu", threads=1)
    train(specs(1)[0], folder / "warm", options=options)
    start = time.perf_counter()
    for number, spec in enumerate(specs(trials)):
        train(spec, folder / "alone" / str(number), options=options)
    return (time.perf_counter() - start) / len(os.sched_getaffinity(0))


if __name__ == "__main__":
    ways = {"bare": bare, "ours": ours, "trials": by_themselves}
    seconds = ways[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
    print(json.dumps({"seconds": seconds, "driver_bytes": peak_bytes()}))
