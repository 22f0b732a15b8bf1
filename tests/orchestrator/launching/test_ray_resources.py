"""What a launch asks of a real Ray, whose CPUs, GPUs and nodes are pretended: they are numbers."""

import textwrap

import pytest

RECORDING = """
import json, os, sys, time
from pathlib import Path
import orchestrator.machine
from orchestrator.launching import ray_launcher
from orchestrator.launching.worker import PackTask
from orchestrator.store.store import Store
from orchestrator.sweep.resources import Resources
from trainer.spec import TrialSpec

PATIENCE_S = 0
# So long a task waits for two others to run beside it: their workers take a while to start.
folder = Path(sys.argv[1])
ray = ray_launcher.ray


def running(folder):
    begun, seen = (len([*folder.glob(f"*.{end}")]) for end in ("begun", "seen"))
    return begun - seen


def run_task(config, tasks, folder):
    # In place of training: what Ray has given this task, and when.
    task = PackTask.model_validate_json(tasks[int(config["task"].split()[0])])
    context, begun = ray.get_runtime_context(), time.time()
    (spec,) = task.trials
    (task.store / f"{spec.trial_id}.begun").touch()
    while time.time() < begun + PATIENCE_S and running(task.store) < 3:
        time.sleep(0.05)
    time.sleep(1)
    record = {
        "seed": spec.seed,
        "batch_size": spec.batch_size,
        "gpus": [str(gpu) for gpu in ray.get_gpu_ids()],
        "given": context.get_assigned_resources(),
        "node": context.get_node_id(),
        "begun": begun,
        "ended": time.time(),
    }
    (task.store / f"{spec.trial_id}.seen").write_text(json.dumps(record))
    ray_launcher.tune.report({"ended": 1})


def launched(specs, resources, cpus, **init):
    # What each task was given by a Ray with so many CPUs, in the order in which they began.
    orchestrator.machine.cpu_count = lambda: cpus
    start = ray.init
    ray.init = lambda **given: start(**{**given, **init})
    ray_launcher._run_task = run_task
    store = Store(folder / "runs")
    store.open_for_writing()
    common = {"store": store.root, "data": folder, "sweep": "tiny", "launch": 1}
    launcher = ray_launcher.RayLauncher(resources)
    launcher.run([PackTask(trials=(spec,), **common) for spec in specs])
    launcher.close()
    seen = [json.loads(path.read_text()) for path in store.root.glob("*.seen")]
    return sorted(seen, key=lambda record: record["begun"])


"""


@pytest.fixture
def recorded(alone):
    """Runs a program that has `launched`; returns what its last line says in JSON."""
    return lambda program: alone(RECORDING + textwrap.dedent(program))


def test_no_more_tasks_run_than_have_memory_on_the_host(recorded):
    seen = recorded(
        """
        specs = [TrialSpec(dataset="synthetic", seed=seed) for seed in range(4)]
        asked, PATIENCE_S = Resources(gpus=0.0, memory="auto"), 15
        print(json.dumps(launched(specs, asked, cpus=8, _memory=4 * 10**9)))
        """
    )
    assert len(seen) == 4
    assert {record["given"]["memory"] for record in seen} == {1.5e9}
    assert most_side_by_side(seen) == 2


def test_trials_share_a_gpu_by_their_own_memory_and_none_is_given_more_than_it_has(recorded):
    seen = recorded(
        """
        ray_launcher._gpu_bytes = lambda: 16 * 10**9
        small = TrialSpec(depth=8, dataset="synthetic", epochs=1)
        sizes = [small, small.changed(batch_size=5000), small.changed(batch_size=12000)]
        specs = [spec.changed(seed=seed) for seed in range(5) for spec in sizes]
        print(json.dumps(launched(specs, Resources(), cpus=8, num_gpus=2)))
        """
    )
    assert len(seen) == 15
    shares = {record["batch_size"]: round(1 / record["given"]["GPU"]) for record in seen}
    assert shares == {128: 4, 5000: 3, 12000: 1}
    for at in seen:
        given = {"0": 0.0, "1": 0.0}
        for record in seen:
            if record["begun"] <= at["begun"] < record["ended"]:
                (gpu,) = record["gpus"]
                given[gpu] += record["given"]["GPU"]
        assert max(given.values()) <= 1.0


NODES = """
import tempfile
from ray.cluster_utils import Cluster
from orchestrator.errors import UserError
from orchestrator.launching import ray_nodes

# The head has no CPUs, each other node two, and so many GPUs of a type.
os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="bnsweep-")  # not everybody's /tmp/ray
head = {"num_cpus": 0, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
types = {}
for gpu_type, gpus in GPUS:
    labels = {"ray.io/accelerator-type": gpu_type}
    node = cluster.add_node(num_cpus=2, num_gpus=gpus, labels=labels)
    types[node.node_id] = gpu_type
os.environ["RAY_ADDRESS"] = cluster.address
"""


def most_side_by_side(seen):
    return max(sum(r["begun"] <= at["begun"] < r["ended"] for r in seen) for at in seen)


def test_at_most_so_many_tasks_run_side_by_side_whatever_is_free(recorded):
    seen = recorded(
        """
        specs = [TrialSpec(dataset="synthetic", seed=seed) for seed in range(4)]
        PATIENCE_S = 15
        print(json.dumps(launched(specs, Resources(gpus=0.0, at_once=2), cpus=8)))
        """
    )
    assert len(seen) == 4
    assert most_side_by_side(seen) == 2


def test_trials_run_on_the_types_that_are_allowed_and_the_modes_of_a_seed_on_one_of_them(recorded):
    seen, refused, said = recorded(
        'GPUS = [("A100", 4), ("H100", 2), ("H200", 2)]'
        + NODES
        + """
modes = [TrialSpec(dataset="synthetic", trainable=mode) for mode in ("all", "bn_only")]
specs = [mode.changed(seed=seed) for mode in modes for seed in range(3)]
asked = Resources(gpus=1.0, gpu_type=("H100", "H200"))
seen = [[r["seed"], types[r["node"]]] for r in launched(specs, asked, cpus=0)]
try:
    launched(specs, Resources(gpu_type=("L40S",)), cpus=0)
except UserError as error:
    refused = str(error)
ray.init(log_to_driver=False)
said = [report.gpu_type for report in ray_nodes.look(folder / "runs", folder)]
ray.shutdown()
cluster.shutdown()
print(json.dumps([seen, refused, said]))
"""
    )
    assert len(seen) == 6
    assert {gpu_type for _, gpu_type in seen} == {"H100", "H200"}
    assert len(set(map(tuple, seen))) == 3  # both modes of a seed on one type
    assert sorted(said) == ["", "A100", "H100", "H200"]  # the names that `doctor` shows
    assert refused == (
        "resources: no node has 1 CPUs and 1 GPUs of type L40S for a trial; the largest has 2 CPUs "
        "and 4 GPUs (A100, H100, H200); resources.wait: 15m would wait so long for one"
    )
