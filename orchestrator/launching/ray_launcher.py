"""The launcher that schedules packs through Ray Tune: with ray_nodes and ray_watch all of ray.

Tune gets an explicit list of trials, our names and a worker function that never fails for a
trial's error. Its own state is scratch, its return value is not read.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.launching import ray_environment

ray_environment.prepare()  # Ray reads some of it when it is imported

# ruff: noqa: E402
import ray
from ray import tune
from ray.autoscaler.sdk import request_resources
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator import machine
from orchestrator.errors import UnreachableError, UserError
from orchestrator.launching import (
    data_check,
    gpu_types,
    ray_drain,
    ray_nodes,
    ray_watch,
    room,
    worker,
)
from orchestrator.launching.room import Need, Node
from orchestrator.launching.worker import PackTask
from orchestrator.store.store import Store
from orchestrator.sweep.resources import Resources
from trainer.grouping import apart_from_mode

DEAD_WORKERS = 10
"""How often Tune restarts a pack whose worker process or node died, in one round."""
_OBJECT_STORE_BYTES = 80 * 1024 * 1024
_LOOK_S = 1.0
"""How often a launch that waits for a node looks for it."""
_log = logging.getLogger(__name__)

_ENVIRONMENT = {
    # Ray sends nothing to its makers, and a machine without a network does not wait for that.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's workers run at nice 15 by default: beside other work their trials hardly move.
    "RAY_worker_niceness": "0",
    # Relative paths mean what they mean in the driver, not something in Tune's folder.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # The new output prints boxes and hints even at verbose=0.
    "RAY_AIR_NEW_OUTPUT": "0",
    # A line that two workers print stands twice in the log, not once with "repeated 2x".
    "RAY_DEDUP_LOGS": "0",
    # A worker that reports no metric would end the whole sweep with a TuneError.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # JSON, CSV and TensorBoard files of each trial: a quarter of Tune's time, and nobody's.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # On Ctrl-C Tune would return as if all had ended well: the driver has its own handler.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Tune's snapshots are never read: one in ten minutes instead of one in ten seconds, ...
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
    # ... without three lines of warning whenever it thinks that they come too often.
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # Each trial reports once, at its end: there is nothing to gather before Tune hears of it.
    "TUNE_RESULT_BUFFER_LENGTH": "0",
}
_WORKER_ENVIRONMENT = {
    # Without these glibc maps and faults in every large tensor anew at each step.
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
    # Large pages: a tenth of a step. Read when a process starts; other allocators ignore it.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


class RayLauncher:
    """Runs tasks through one Ray Tune `Tuner` a round; Ray starts with the first round."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._nodes: list[Node] = []
        self._trained_on: dict[str, str] = {}
        self._scratch: Path | None = None
        self._folder = contextlib.ExitStack()
        self._local = not os.environ.get("RAY_ADDRESS")

    def run(self, tasks: Sequence[PackTask]) -> None:
        """Run the tasks side by side. Raises UnreachableError where Ray cannot be used, UserError
        where no node can ever run such a trial."""
        if self._scratch is None and not self._start(tasks):
            return
        needs = self._needs(tasks)
        tasks = [self._told(task, need) for task, need in zip(tasks, needs, strict=True)]
        # Tune copies its search space for every trial, and stores the functions that name a trial
        # with each of them: the tasks themselves stay out of both, and their list is no grid.
        trainable = tune.with_parameters(
            _run_task,
            tasks=[t.model_dump_json() for t in tasks],
            folder=os.getcwd() if self._local else "",
        )
        points = [{"task": f"{number} {_name(task)}"} for number, task in enumerate(tasks)]
        watch = ray_watch.Watch(tasks, local=self._local)
        tuner = tune.Tuner(
            tune.with_resources(
                trainable, lambda config: _placement(needs[ray_watch.number_of(config)])
            ),
            param_space={"task": None},  # each point says which
            tune_config=tune.TuneConfig(
                search_alg=BasicVariantGenerator(
                    points_to_evaluate=points,
                    max_concurrent=self._resources.limited(len(points)),
                ),
                num_samples=len(points),
                reuse_actors=True,
                trial_name_creator=_name_of,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="round",
                storage_path=str(self._scratch),
                failure_config=tune.FailureConfig(max_failures=DEAD_WORKERS),
                callbacks=[watch],
                verbose=0,
            ),
        )
        if not ray_watch.Round(tuner.fit, watch).run():
            self._leave_ray(tasks[0].sweep)

    def _needs(self, tasks: Sequence[PackTask]) -> list[Need]:
        """What each task needs; a type of GPU that was chosen for a seed stays its type."""
        types = room.types_of(self._resources, self._nodes)
        if len(types) > 1 and not self._trained_on:
            store = Store(tasks[0].store)
            hosts = {node.host: node.gpu_type for node in self._nodes if node.gpus}
            self._trained_on = gpu_types.trained_on(
                store, store.launched(tasks[0].sweep), hosts, types
            )
        needs = room.needs(self._resources, self._nodes, tasks, self._trained_on)
        for task, need in zip(tasks, needs, strict=True):
            if len(types) > 1 and len(need.gpu_types) == 1:
                keys = map(apart_from_mode, task.trials)
                self._trained_on.update(dict.fromkeys(keys, need.gpu_types[0]))
        return needs

    def _told(self, task: PackTask, need: Need) -> PackTask:
        """The task with what it will have."""
        # A GPU that Ray counts and torch cannot use shall not pass for a slow one.
        told: dict[str, Any] = {"device": "cuda"} if need.gpus else {}
        if own := need.cpus - self._resources.training_cpus:
            told["decoders"] = own
        return task.model_copy(update=told)

    def _leave_ray(self, sweep: str) -> None:
        """End a Ray that stands still: the next round begins with one of our own anew.

        Raises UnreachableError where it is a cluster's.
        """
        if self._local:
            ray_watch.kill_ray()
        self.close()
        if not self._local:
            raise UnreachableError(
                f"RAY_ADDRESS: Ray at {os.environ['RAY_ADDRESS']} has not answered for "
                f"{ray_watch.SILENT_S / 60:.0f} minutes; once it does: bnsweep resume {sweep}"
            )

    def close(self) -> None:
        """Shut down what this launcher started, and remove Ray's scratch."""
        if self._scratch is not None:
            ray_watch.shut_down(local=self._local)
            self._folder.close()
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def _start(self, tasks: Sequence[PackTask]) -> bool:
        """Start Ray, or connect to it; False where a stop came before a node had room."""
        os.environ.update(_ENVIRONMENT)
        threads = {"OMP_NUM_THREADS": str(self._resources.cpus)}
        worker_environment = {**_WORKER_ENVIRONMENT, **threads}
        if self._local:
            for name, value in worker_environment.items():
                os.environ.setdefault(name, value)  # the raylet's children inherit them
        try:
            # Workers look for modules first where Ray was started: a trainer.py where the user
            # stands, a common name, shall not be taken for ours.
            with _own_signal_handlers(), contextlib.chdir(Path(__file__).parents[2]):
                self._connect(worker_environment)
        except Exception as error:  # Ray raises many types here; each means the same to the user
            self._folder.close()
            log = Store(tasks[0].store).launch_log(tasks[0].sweep, tasks[0].launch)
            raise UnreachableError(
                f"Ray cannot be {'started' if self._local else 'reached'}: {_line(error)}; "
                f"details in {log}"
            ) from error
        try:
            if not self._find_room(tasks):
                ray.shutdown()
                return False
            if not self._local:
                _check_nodes(tasks)
        except BaseException:
            ray.shutdown()
            self._folder.close()
            raise
        if self._resources.gpus == "auto":
            needs = self._needs(tasks)
            _log.info("gpus: auto: %s", room.chosen(needs))
        # Workers on other nodes look into Tune's folder too: there it must lie in the store.
        parent = None if self._local else tasks[0].store
        self._scratch = Path(tempfile.mkdtemp(prefix=".ray-scratch-", dir=parent))
        return True

    def _connect(self, worker_environment: dict[str, str]) -> None:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._local:
            ray.init(
                address="local",
                num_cpus=machine.cpu_count(),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=self._folder.enter_context(ray_environment.own_folder()),
                **quiet,
            )
        else:
            ray.init(runtime_env={"env_vars": worker_environment}, **quiet)

    def _find_room(self, tasks: Sequence[PackTask]) -> bool:
        """Look for nodes that have room for each task. Waits for one, as long as `wait` says: Tune
        would wait for ever. False where a stop came first.

        Raises UserError where there is no such node in time.
        """
        lacking = self._look(tasks)
        if lacking and self._resources.wait_s and not self._local:
            lack = room.lack(lacking[0], self._nodes)
            _log.info("%s; waiting %s for one", lack, self._resources.wait)
            until = time.monotonic() + self._resources.wait_s
            request_resources(  # of the autoscaler, if there is one
                bundles=[need.bundle for need in lacking],
                bundle_label_selectors=[need.labels for need in lacking],
            )
            try:
                while lacking and time.monotonic() < until:
                    if Store(tasks[0].store).stop_for(tasks[0].sweep, tasks[0].launch):
                        return False
                    time.sleep(_LOOK_S)
                    lacking = self._look(tasks)
            finally:
                request_resources(bundles=[])
        if lacking:
            hint = "" if self._local else "; resources.wait: 15m would wait so long for one"
            raise UserError(room.lack(lacking[0], self._nodes) + hint)
        return True

    def _look(self, tasks: Sequence[PackTask]) -> list[Need]:
        """See which nodes are there; returns what none of them has."""
        self._nodes = _living_nodes(self._resources)
        return room.lacking(room.needs(self._resources, self._nodes, tasks), self._nodes)


def _check_nodes(tasks: Sequence[PackTask]) -> None:
    """Refuse a cluster on which a node would fail its trials: store, data, versions.

    A node that does not answer is left to Ray, which finds out whether it is dead.
    """
    specs = data_check.wanted(spec for task in tasks for spec in task.trials)
    fields = [spec.identity_fields() for spec in specs]
    reports = ray_nodes.look(tasks[0].store, tasks[0].data, fields)
    if problems := ray_nodes.problems([report for report in reports if report.answered]):
        raise UnreachableError(*problems)


@contextlib.contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep this process's handlers: `ray.init` puts its own SIGTERM handler in their place,
    which ends the driver at once, without a checkpoint."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            signal.signal(number, handler)


def _living_nodes(resources: Resources) -> list[Node]:
    """The nodes, with the memory of their GPUs where it decides anything."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    asked = [n for n in nodes if n["Resources"].get("GPU")]
    types = {node["Labels"].get(room.GPU_TYPE) for node in asked}
    shared = resources.gpus == "auto" and resources.processes == 1
    if resources.gpus == 0 or not (shared or len(types) > 1):
        asked = []
    gpu_bytes = ray.get([_gpu_bytes_of(node) for node in asked])
    said = {node["NodeID"]: size for node, size in zip(asked, gpu_bytes, strict=True)}
    return [
        Node(
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            memory=node["Resources"].get("memory", 0.0),
            gpu_type=node["Labels"].get(room.GPU_TYPE, ""),
            gpu_bytes=said.get(node["NodeID"], 0),
            host=node["NodeManagerHostname"],
        )
        for node in nodes
    ]


def _placement(need: Need) -> tune.PlacementGroupFactory:
    labels = {"bundle_label_selector": [need.labels]} if need.labels else {}
    return tune.PlacementGroupFactory([need.bundle], **labels)


def _gpu_bytes_of(node: Any) -> Any:
    """What the node will say is the memory of its smallest GPU, in bytes."""
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return ray.remote(num_cpus=0)(_gpu_bytes).options(scheduling_strategy=there).remote()


def _gpu_bytes() -> int:
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(
            command, capture_output=True, encoding="utf-8", check=True, timeout=30
        )
        return min(int(line) for line in found.stdout.split()) * 1024 * 1024
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0  # unknown: a whole GPU for each trial


def _run_task(config: dict[str, str], tasks: Sequence[str], folder: str) -> None:
    """The Tune trainable: the task of that number; returns normally whatever the trials do.

    `folder`: where the driver stands, so that relative paths mean the same here; empty: elsewhere.
    """
    if folder:
        with contextlib.suppress(OSError):
            os.chdir(folder)
    task = PackTask.model_validate_json(tasks[ray_watch.number_of(config)])
    worker.check_process()  # raises before anything is claimed: Tune goes on in a new process
    if folder:
        worker.run_pack(task)
    else:
        with ray_drain.Notice() as drained:
            worker.run_pack(task, drained)
        if drained():  # the process goes too: the node waits until it is empty
            raise ray_drain.NodeDrained
    tune.report({"ended": 1})


def _name(task: PackTask) -> str:
    others = len(task.trials) - 1
    return task.trials[0].trial_id + (f"+{others}" if others else "")


def _name_of(trial: Any) -> str:
    name: str = trial.config["task"].partition(" ")[2]
    return name


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
