"""Launch records: one model that holds the whole sweep, also as earlier versions wrote it."""

import shutil
from dataclasses import replace
from pathlib import Path

from orchestrator.sweep import sweep_spec
from orchestrator.sweep.resources import Resources

VERSION_1 = Path(__file__).parents[2] / "golden" / "launch_version_1.json"
"""Written by a bnsweep of version 1, from the YAML that it holds."""


def test_a_launch_of_version_1_is_the_sweep_that_it_was(store):
    launches = store.sweep_folder("old") / "launches"
    launches.mkdir(parents=True)
    shutil.copy(VERSION_1, launches / "1.json")
    launch = store.newest_launch("old")
    assert (launch.number, launch.time_ms, launch.host) == (1, 1764000000000, "node1")
    again = sweep_spec.parse(launch.sweep.source, "old.yaml", ["epochs=2"])
    resources = Resources(cpus=2, gpus=1 / 3, pack=4, kernels="stock", graphs=False)
    assert launch.sweep == again.model_copy(update={"resources": resources})
    assert again.resources == replace(resources, graphs=True)  # the default since
    assert [spec.trial_id for spec in launch.specs][
        -1
    ] == "cifar_resnet-d14-w1-random_2-s0-fdbcf021"
    assert store.unreadable_launches("old") == []


def test_a_launch_of_version_1_that_is_stored_again_is_read_as_the_same(store):
    (store.sweep_folder("old") / "launches").mkdir(parents=True)
    shutil.copy(VERSION_1, store.sweep_folder("old") / "launches" / "1.json")
    first = store.launch("old", 1)
    second = store.record_launch(first)
    assert (second.number, second.version) == (2, 2)
    assert store.launch("old", 2) == second
    assert second.sweep == first.sweep
