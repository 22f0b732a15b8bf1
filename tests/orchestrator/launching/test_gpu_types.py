"""All modes of a seed go to one type of GPU, where a cluster has several."""

from pathlib import Path

import pytest
from made_results import made
from made_trials import a_store, claimed

from orchestrator.launching import gpu_types, room
from orchestrator.launching.room import Node
from orchestrator.launching.worker import PackTask
from orchestrator.store import liveness, ownership
from orchestrator.sweep.resources import Resources
from trainer import results
from trainer.grouping import apart_from_mode
from trainer.spec import TrialSpec

GB = 10**9
A100 = Node(cpus=16, gpus=2, gpu_type="A100", gpu_bytes=40 * GB)
H100 = Node(cpus=16, gpus=2, gpu_type="H100", gpu_bytes=80 * GB)
TINY = TrialSpec(depth=8, dataset="digits", epochs=1)
MODES = ("all", "bn_only", "output_only")


def task(*trials):
    common = {"store": Path("runs"), "data": Path("data"), "sweep": "tiny", "launch": 1}
    return PackTask(trials=trials, **common)


def types_by_seed(tasks, nodes=(A100, H100), resources=None, **trained_on):
    """The types that each seed's tasks are given."""
    needs = room.needs(resources or Resources(gpus=1.0), nodes, tasks, trained_on)
    found = {}
    for each, need in zip(tasks, needs, strict=True):
        for spec in each.trials:
            found.setdefault(spec.seed, set()).add(need.gpu_types)
    return found


def modes_of(*seeds, **changes):
    return [
        task(TINY.changed(seed=seed, trainable=mode, **changes)) for mode in MODES for seed in seeds
    ]


def seeds_on(found, gpu_type):
    """How many seeds are on a type; each must be on one alone."""
    assert all(len(types) == 1 for types in found.values())
    return sum(types == {(gpu_type,)} for types in found.values())


def test_each_seed_has_one_type_and_each_type_as_much_as_its_gpus_and_their_memory_tell():
    found = types_by_seed(modes_of(*range(6)))
    assert (seeds_on(found, "A100"), seeds_on(found, "H100")) == (2, 4)
    found = types_by_seed(modes_of(*range(5)), [A100, H100, H100])
    assert (seeds_on(found, "A100"), seeds_on(found, "H100")) == (1, 4)


def test_where_a_memory_is_unknown_the_number_of_gpus_decides():
    unknown = Node(cpus=16, gpus=4, gpu_type="A100")
    found = types_by_seed(modes_of(*range(6)), [unknown, H100])
    assert (seeds_on(found, "A100"), seeds_on(found, "H100")) == (4, 2)


def test_one_type_or_types_that_ray_does_not_know_change_nothing():
    assert types_by_seed(modes_of(0), [A100, A100]) == {0: {()}}
    assert types_by_seed(modes_of(0), [A100, Node(cpus=4, gpus=1)]) == {0: {()}}
    assert types_by_seed(modes_of(0), [A100, H100], Resources(gpus=0.0)) == {0: {()}}


def test_a_node_of_a_type_without_a_gpu_to_give_is_passed_over():
    none_left = Node(cpus=16, gpu_type="A100")
    found = types_by_seed(modes_of(0, 1), [A100, none_left, H100], Resources())
    assert sorted(map(sorted, found.values())) == [[("A100",)], [("H100",)]]


def test_only_allowed_types_are_chosen_from():
    allowed = Resources(gpu_type=("H100", "H200"))
    assert types_by_seed(modes_of(0, 1), [A100, H100], allowed)[0] == {("H100", "H200")}
    assert types_by_seed(modes_of(0, 1), [A100, H100], Resources())[0] != {()}


def test_a_pack_takes_the_seeds_of_all_its_trials_along():
    heads = [TINY.changed(seed=seed, trainable="output_only") for seed in (0, 1)]
    tasks = [*modes_of(0, 1, 2), task(*heads)]
    found = types_by_seed(tasks)
    assert found[0] == found[1] != found[2]
    assert all(len(types) == 1 for types in found.values())


def test_a_seed_goes_where_all_its_modes_have_room():
    small = Node(cpus=1, gpus=2, gpu_type="T4", gpu_bytes=16 * GB)
    found = types_by_seed(modes_of(0, 1), [small, H100], Resources(cpus=2, gpus=1.0))
    assert set(map(frozenset, found.values())) == {frozenset({("H100",)})}
    nowhere = types_by_seed(modes_of(0), [small, H100], Resources(cpus=64, gpus=1.0))
    assert nowhere == {0: {()}}


def test_a_seed_goes_where_its_largest_mode_fits_the_memory_of_a_gpu():
    small = Node(cpus=128, gpus=128, gpu_type="T4", gpu_bytes=2 * GB)
    tasks = [task(TINY), task(TINY.changed(trainable="bn_only"))]
    assert types_by_seed(tasks, [small, H100], Resources()) == {0: {("T4",)}}
    tasks = modes_of(0, batch_size=20_000)
    assert types_by_seed(tasks, [small, H100], Resources()) == {0: {("H100",)}}


def test_what_was_trained_on_a_type_stays_there():
    everything = {apart_from_mode(TINY.changed(seed=seed)): "A100" for seed in range(4)}
    found = types_by_seed(modes_of(*range(4)), **everything)
    assert set(map(frozenset, found.values())) == {frozenset({("A100",)})}
    gone = dict.fromkeys(everything, "V100")
    assert types_by_seed(modes_of(0), **gone) in ({0: {("A100",)}}, {0: {("H100",)}})


def test_where_trials_were_trained_is_what_their_results_or_hosts_say(tmp_path):
    store = a_store(tmp_path)
    finished, stopped, new = (TINY.changed(seed=seed) for seed in range(3))
    claim = claimed(store, finished)
    result = made(finished, device="cuda", device_name="NVIDIA H100 80GB HBM3")
    results.write(claim.folder / results.RESULT, result)
    ownership.publish(store, claim)
    claimed(store, stopped)
    hosts = {liveness.this_process("tiny", 1).host: "A100"}
    others = [spec.changed(trainable="bn_only") for spec in (finished, stopped, new)]
    specs = [finished, stopped, new, *others]
    found = gpu_types.trained_on(store, specs, hosts, ["A100", "H100"])
    assert found == {apart_from_mode(finished): "H100", apart_from_mode(stopped): "A100"}
    assert gpu_types.trained_on(store, specs, {}, ["L4"]) == {}


@pytest.mark.parametrize(
    ("device", "gpu_type", "same"),
    [
        ("NVIDIA H100 80GB HBM3", "H100", True),
        ("NVIDIA A100-SXM4-40GB", "A100", True),
        ("NVIDIA A100-SXM4-40GB", "A10", False),
        ("NVIDIA A10G", "A10", False),
        ("Tesla V100-SXM2-16GB", "V100", True),
        ("NVIDIA GeForce RTX 5090", "GeForce-RTX-5090", True),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000", True),
        ("", "A100", False),
    ],
)
def test_a_device_is_known_by_rays_name_of_its_type(device, gpu_type, same):
    assert gpu_types.is_type(device, gpu_type) is same
