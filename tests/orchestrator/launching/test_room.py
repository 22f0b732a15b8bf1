"""What each task is to be given by the nodes that are there, without a Ray."""

from pathlib import Path

import pytest

from orchestrator.launching import room
from orchestrator.launching.room import Need, Node
from orchestrator.launching.worker import PackTask
from orchestrator.sweep.resources import Resources
from trainer.spec import TrialSpec

GB = 10**9
H100 = Node(cpus=16, gpus=1, gpu_type="H100", gpu_bytes=80 * GB)
A100 = Node(cpus=16, gpus=4, gpu_type="A100", gpu_bytes=40 * GB)
CPUS = Node(cpus=64)
TINY = TrialSpec(depth=8, width=1, dataset="digits")


def task(*trials):
    common = {"store": Path("runs"), "data": Path("data"), "sweep": "tiny", "launch": 1}
    return PackTask(trials=trials or (TINY,), **common)


def need_of(resources, *nodes, trials=(TINY,)):
    (need,) = room.needs(resources, nodes, [task(*trials)])
    return need


@pytest.mark.parametrize(
    ("nodes", "gpus", "cpus", "decoders"),
    [
        ([Node(cpus=128, gpus=8)], 1.0, 1, 15),
        ([Node(cpus=128, gpus=8), Node(cpus=32, gpus=4)], 1.0, 1, 7),
        ([Node(cpus=16, gpus=1)], 0.25, 1, 3),
        ([Node(cpus=16, gpus=1)], 0.25, 4, 0),
        ([], 1.0, 1, 0),
    ],
)
def test_decoders_get_the_cpus_that_each_node_has_for_a_share_of_its_gpus(
    nodes, gpus, cpus, decoders
):
    assert room.decoders_for(nodes, gpus, cpus) == decoders


def test_auto_takes_a_gpu_where_there_is_one_and_else_none():
    assert need_of(Resources(), CPUS).gpus == 0
    assert need_of(Resources(), CPUS, H100).gpus == 1 / 8
    assert need_of(Resources(cpus=8), H100).gpus == 1 / 2
    assert need_of(Resources(), Node(cpus=16, gpus=1)).gpus == 1  # of unknown memory


def test_a_type_of_gpu_that_is_not_there_is_never_replaced_by_a_cpu():
    resources = Resources(gpu_type=("H100",))
    need = need_of(resources, CPUS, A100)
    assert need == Need(cpus=1, gpus=1.0, gpu_types=("H100",))
    assert room.lacking([need, need], [CPUS, A100]) == [need]
    assert room.lack(need, [CPUS, A100]) == (
        "resources: no node has 1 CPUs and 1 GPUs of type H100 for a trial; "
        "the largest has 64 CPUs and 4 GPUs (A100)"
    )
    assert need_of(resources).gpus == 1


def test_each_trial_has_a_share_by_its_own_memory_not_by_the_largest_ones():
    large = TINY.changed(dataset="cifar10", depth=110, width=4, batch_size=1024)
    small, whole = room.needs(Resources(), [H100], [task(TINY), task(large)])
    assert (small.gpus, whole.gpus) == (1 / 8, 1)
    assert room.chosen([small, whole]) == "1 to 8 trials on each GPU"
    own = TINY.changed(code_sha256="0" * 64)
    assert [n.gpus for n in room.needs(Resources(), [H100], [task(TINY), task(own)])] == [1 / 8, 1]


def test_only_nodes_of_the_type_decide_how_a_gpu_is_shared():
    small = Node(cpus=2, gpus=1, gpu_bytes=2 * GB)  # of a type that Ray does not know
    assert need_of(Resources(), small, H100).gpus == 1
    need = need_of(Resources(gpu_type=("H100",)), small, H100)
    assert need == Need(cpus=1, gpus=1 / 8, gpu_types=("H100",))
    assert room.lacking([need], [small, H100]) == []
    assert room.lacking([need], [small]) == [need]


def test_any_type_of_a_list_will_do():
    need = need_of(Resources(gpu_type=("H100", "H200")), A100, H100)
    assert need.labels == {"ray.io/accelerator-type": "in(H100,H200)"}
    assert need.fits(H100)
    assert not need.fits(A100)
    assert need_of(Resources(), A100).labels == {}


def test_memory_is_reserved_where_it_is_asked_for_in_steps():
    assert need_of(Resources(gpus=0.0), CPUS).memory == 0
    resources = Resources(gpus=0.0, memory="auto")
    small = need_of(resources, CPUS).memory
    assert small == 1.5 * GB
    assert need_of(resources, CPUS, trials=(TINY.changed(seed=1, lr=0.2),)).memory == small
    wide = need_of(resources, CPUS, trials=(TINY.changed(width=16),))
    assert wide.memory > small
    assert wide.memory % (GB // 2) == 0
    assert wide.bundle == {"CPU": 1.0, "memory": float(wide.memory)}


def test_a_node_without_the_memory_is_said_to_be_too_small():
    (need,) = room.needs(Resources(gpus=0.0, memory="auto"), [], [task()])
    small, large = Node(cpus=8, memory=1.2 * GB), Node(cpus=8, memory=1.5 * GB)
    assert room.lacking([need], [small]) == [need]
    assert room.lacking([need], [small, large]) == []
    assert room.lack(need, [small]) == (
        "resources: no node has 1 CPUs and 0 GPUs with 1.5 GB of memory for a trial; "
        "the largest has 8 CPUs and 0 GPUs, 1.2 GB to reserve"
    )


def test_what_auto_came_to_is_told():
    assert room.chosen([Need(1)]) == "no GPU here, trials train on CPUs"
    assert room.chosen([Need(1, 0.25)]) == "4 trials on each GPU"
    assert room.chosen([Need(1, 2.0)]) == "2 GPUs for each trial"
