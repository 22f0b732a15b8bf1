"""Which trials begin first: those that take longest, by the times or the operations of the plan."""

import pytest

from orchestrator.planning.history import History
from orchestrator.planning.order import longest_first
from orchestrator.store.records import TrialStatus
from orchestrator.store.store import Store
from trainer.spec import TrialSpec

SMALL, MIDDLE, LARGE = (TrialSpec(depth=depth, epochs=10) for depth in (8, 14, 32))


@pytest.fixture
def history(tmp_path):
    """Makes the history of a store in which trials took so many seconds."""

    def history(seconds):
        planned = [
            (spec, TrialStatus(spec.trial_id, "finished", seconds=took))
            for spec, took in seconds.items()
        ]
        return History(Store(tmp_path), planned)

    return history


def ordered(packs, history, **epochs_done):
    depths = {spec.depth: spec.trial_id for spec in (SMALL, MIDDLE, LARGE)}
    done = {depths[int(name[1:])]: epochs for name, epochs in epochs_done.items()}
    return longest_first([tuple(pack) for pack in packs], history, done)


def test_without_any_times_the_most_operations_come_first(history):
    found = ordered([[SMALL], [LARGE], [MIDDLE]], history({}))
    assert found == [(LARGE,), (MIDDLE,), (SMALL,)]
    modes = [SMALL.changed(trainable=mode) for mode in ("output_only", "bn_only", "all")]
    found = ordered([[spec] for spec in modes], history({}))
    assert found == [(spec,) for spec in reversed(modes)]


def test_times_that_the_store_has_seen_go_before_operations(history):
    seen = {SMALL.changed(seed=1): 30.0, MIDDLE.changed(seed=1): 10.0, LARGE.changed(seed=1): 20.0}
    found = ordered([[MIDDLE], [LARGE], [SMALL]], history(seen))
    assert found == [(SMALL,), (LARGE,), (MIDDLE,)]


def test_where_one_trial_is_unknown_all_are_compared_by_operations(history):
    other = LARGE.changed(dataset="digits")
    seen = {SMALL.changed(seed=1): 30.0, MIDDLE.changed(seed=1): 10.0}
    assert ordered([[MIDDLE], [SMALL], [LARGE]], history(seen))[0] == (LARGE,)  # scaled by FLOPs
    assert ordered([[SMALL], [other], [MIDDLE]], history(seen)) == [(MIDDLE,), (SMALL,), (other,)]


def test_what_a_trial_has_behind_it_is_not_counted(history):
    seen = {spec.changed(seed=1): 100.0 for spec in (SMALL, MIDDLE, LARGE)}
    found = ordered([[LARGE], [MIDDLE], [SMALL]], history(seen), d32=9, d14=5)
    assert found == [(SMALL,), (MIDDLE,), (LARGE,)]


def test_equal_trials_keep_the_order_of_the_file(history):
    replicates = [(SMALL.changed(seed=seed),) for seed in (3, 1, 2)]
    assert longest_first(replicates, history({}), {}) == replicates


def test_a_pack_takes_as_long_as_its_trials_together_and_one_forward_once(history):
    heads = [SMALL.changed(trainable="output_only", lr=rate) for rate in (0.1, 0.2, 0.4)]
    alone = MIDDLE.changed(trainable="output_only")  # of about twice the operations
    assert ordered([heads, [alone]], history({})) == [(alone,), tuple(heads)]
    taking_turns = [SMALL.changed(seed=seed) for seed in range(4)]
    assert ordered([[MIDDLE], taking_turns], history({})) == [tuple(taking_turns), (MIDDLE,)]
