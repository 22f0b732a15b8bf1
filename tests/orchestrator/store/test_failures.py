"""Failure classes and what follows from each."""

import errno

import pytest

from orchestrator.store import failures
from orchestrator.store.failures import Failure
from trainer import errors
from trainer.spec import TrialSpec


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.SpecError("no such thing"), "user"),
        (errors.DataError("no data"), "user"),
        (errors.Diverged(3, 7, 1.5), "diverged"),
        (errors.OutOfMemory("too large", 123), "oom"),
        (MemoryError(), "oom"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "oom"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "oom"),
        (OSError(errno.ENOSPC, "No space left on device"), "io"),
        (OSError(errno.ESTALE, "Stale file handle"), "io"),
        (FileNotFoundError(errno.ENOENT, "gone"), "code"),
        (errors.FreezeViolation("conv1.weight changed"), "code"),
        (errors.Stopped("on request"), "stopped"),
        (ZeroDivisionError("division by zero"), "code"),
    ],
)
def test_each_error_has_its_class(error, expected):
    failure = failures.classify(raised(error), attempt=2, epoch=4)
    assert failure.failure == expected
    assert (failure.attempt, failure.epoch) == (2, 4)
    assert failure.cause
    assert "\n" not in failure.cause
    assert "raised" in failure.traceback


def failed(*classes, epoch=0, **details):
    return [Failure(failure=c, cause="why", epoch=epoch, details=details) for c in classes]


@pytest.mark.parametrize(
    ("history", "runs"),
    [
        ([], True),
        (failed("user"), False),
        (failed("diverged"), False),
        (failed("code"), False),
        (failed("stopped"), False),
        (failed("io"), True),
        (failed("io", "io"), True),
        (failed("io", "io", "io"), False),
        (failed("lost"), True),
        (failed("lost", "lost"), True),
        (failed("lost", "lost", "lost"), False),
        ([Failure(failure="lost", cause="", epoch=e) for e in range(20)], True),
        ([Failure(failure="lost", cause="", epoch=e) for e in range(101)], False),
        (failed("moved"), True),
        (failed(*["moved"] * 200), True),
        (failed("oom", beside=1), True),
        (failed("oom", beside=0), False),
    ],
)
def test_what_is_retried_follows_from_the_class(history, runs):
    assert failures.decide(history, retries=2).run is runs


def test_an_out_of_memory_beside_others_is_tried_alone():
    assert failures.decide(failed("oom", beside=3), retries=2).alone


def test_io_is_retried_after_a_pause_that_grows():
    one, two = (failures.decide(failed(*["io"] * n), retries=2).pause_s for n in (1, 2))
    assert 0 < one < two


def test_a_trial_whose_worker_keeps_dying_says_where_to_look():
    assert "bnsweep logs" in failures.decide(failed("lost", "lost", "lost"), 2).reason


def boom(times):
    """The same error from the same place for every trial that is given."""
    return [failures.classify(raised(KeyError("x")), attempt=1, epoch=None) for _ in range(times)]


GRID = [
    TrialSpec(depth=d, trainable=t, seed=s)
    for d in (8, 14)
    for t in ("all", "bn_only")
    for s in (0, 1)
]
BN = [s for s in GRID if s.trainable == "bn_only"]
ALL = [s for s in GRID if s.trainable == "all"]


def test_one_traceback_in_two_trials_holds_back_the_trials_that_are_like_them():
    failed_ones = [(s, f) for s, f in zip((BN[0], BN[2]), boom(2), strict=True)]
    waiting = [s for s in GRID if s not in (BN[0], BN[2])]
    held = failures.held_back(failed_ones, [], waiting)
    assert held.keys() == {s.trial_id for s in (BN[1], BN[3])}
    assert "KeyError" in next(iter(held.values()))


def test_one_failed_trial_holds_back_nothing():
    assert not failures.held_back([(BN[0], boom(1)[0])], [], GRID)


def test_two_attempts_of_one_trial_are_one_trial():
    assert not failures.held_back([(BN[0], f) for f in boom(2)], [], GRID)


def test_a_like_trial_that_finished_shows_that_something_else_is_wrong():
    failed_ones = [(s, f) for s, f in zip((BN[0], BN[2]), boom(2), strict=True)]
    assert not failures.held_back(failed_ones, [BN[1]], [BN[3]])


def test_different_tracebacks_hold_back_nothing():
    first = failures.classify(raised(KeyError("x")), attempt=1, epoch=None)
    second = failures.classify(raised(ValueError("x")), attempt=1, epoch=None)
    assert not failures.held_back([(BN[0], first), (BN[1], second)], [], GRID)
