"""A plan beyond the limits is refused, and the message says what to drop."""

import pytest
from made_results import made

from orchestrator.errors import UserError
from orchestrator.planning import limits, plan
from orchestrator.store import liveness, ownership
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec
from trainer import results

TEXT = """
name: tiny
recipe: digits
base: {epochs: 4}
axes:
  depth: [8, 14]
  trainable: [all, bn_only]
seeds: 2
"""


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.open_for_writing()
    return store


def planned(store):
    return plan.make(sweep_spec.parse(TEXT, "tiny.yaml"), store)


def finish(store, spec, seconds):
    claim = ownership.claim(store, spec, liveness.this_process("tiny", 1))
    result = made(spec).model_copy(update={"seconds": seconds})
    results.write(claim.folder / results.RESULT, result)
    ownership.publish(store, claim)


def test_a_plan_within_its_limits_passes(store):
    limits.check(planned(store), max_memory_gb=1000)


def test_too_much_memory_names_the_configurations_and_how_to_drop_them(store):
    made_plan = planned(store)
    largest = made_plan.totals.memory_bytes
    with pytest.raises(UserError) as caught:
        limits.check(made_plan, max_memory_gb=(largest - 1) / 1e9)
    (line,) = caught.value.lines
    assert "exclude: [{depth: 14, trainable: all}]" in line


IMAGENET = """
name: large
recipe: imagenet
base: {model: imagenet_resnet, depth: 50, trainable: all}
"""


def test_too_much_memory_names_a_bn_batch_that_fits_and_none_where_none_does(store):
    large = sweep_spec.parse(IMAGENET, "large.yaml")
    with pytest.raises(UserError, match=r" or set bn_batch to (\d+)$") as caught:
        limits.check(plan.make(large, store), max_memory_gb=10)
    advice = caught.value.lines[0].rpartition(" ")[2]
    advised = sweep_spec.parse(IMAGENET, "large.yaml", [f"bn_batch={advice}"])
    limits.check(plan.make(advised, store), max_memory_gb=10)
    twice = sweep_spec.parse(IMAGENET, "large.yaml", [f"bn_batch={2 * int(advice)}"])
    with pytest.raises(UserError):
        limits.check(plan.make(twice, store), max_memory_gb=10)
    with pytest.raises(UserError, match=r"drop it \([^)]*\)$"):
        limits.check(plan.make(large, store), max_memory_gb=0.001)


def test_too_many_gpu_hours_name_the_longest_configurations_that_are_enough_to_drop(store):
    for spec in sweep_spec.parse(TEXT, "tiny.yaml", ["seeds=[99]"]).trials:
        finish(store, spec, seconds=36_000.0 if spec.depth == 14 else 3_600.0)
    with pytest.raises(UserError) as caught:
        limits.check(planned(store), max_gpu_hours=30)
    assert "needs 44.0 GPU-hours" in caught.value.lines[0]
    assert len(caught.value.lines) == 2
    assert "20.0 GPU-hours (exclude: [{depth: 14" in caught.value.lines[1]


def test_a_limit_on_hours_that_cannot_be_known_refuses(store):
    with pytest.raises(UserError, match="8 trials are of unknown length"):
        limits.check(planned(store), max_gpu_hours=1)


def test_a_limit_on_hours_that_cannot_be_known_is_told_where_a_person_is_asked(store):
    told = limits.check(planned(store), max_gpu_hours=1, unknown_passes=True)
    assert told == ("tiny: --max-gpu-hours cannot be checked: 8 trials are of unknown length")
    assert limits.check(planned(store), max_memory_gb=1000) == ""


def test_trials_of_known_length_that_are_too_long_refuse_whatever_the_others_are(store):
    text = TEXT.replace("depth: [8, 14]", "depth: [8]")
    for spec in sweep_spec.parse(text, "tiny.yaml", ["seeds=[99]"]).trials:
        finish(store, spec, seconds=36_000.0)
    mixed = TEXT.replace("recipe: digits", "recipe: digits\nresources: {gpus: 1}") + (
        "include: [{model: cifar_vgg, depth: 11, dataset: cifar10}]\n"
    )
    made_plan = plan.make(sweep_spec.parse(mixed, "tiny.yaml"), store)
    assert made_plan.totals.gpu_hours is None
    with pytest.raises(UserError, match=r"needs at least \d+\.\d GPU-hours"):
        limits.check(made_plan, max_gpu_hours=1, unknown_passes=True)
