"""The board and the events of a launch, as text in 80 columns."""

import dataclasses
import io

import pytest
from rich.console import Console

from orchestrator.launching.board import Board, Event, clock
from orchestrator.planning import costs
from orchestrator.store.records import Launch, TrialStatus
from orchestrator.sweep.labels import labels
from trainer.spec import TrialSpec

SPECS = [
    TrialSpec(depth=depth, trainable=mode, epochs=10)
    for depth in (14, 32)
    for mode in ("all", "bn_only")
]
LAUNCH = Launch(
    sweep={"name": "depth", "trials": tuple(spec.identity_fields() for spec in SPECS)},
    number=1,
    time_ms=0,
    host="here",
)
IDS = [spec.trial_id for spec in SPECS]


class Clock:
    """A clock that goes only when told."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def status(number, state="running", **fields):
    return TrialStatus(IDS[number], state, **{"attempt": 1, "epochs": 10, **fields})


PENDING = [TrialStatus(trial_id, "pending", epochs=10) for trial_id in IDS]


@pytest.fixture
def board():
    made = Board(LAUNCH, now=Clock())
    made.start(PENDING)
    return made


def changed(*new):
    """The pending trials with some replaced."""
    by_id = {s.trial_id: s for s in new}
    return [by_id.get(s.trial_id, s) for s in PENDING]


def drawn(board, height=24):
    file = io.StringIO()
    Console(file=file, width=80, height=height, force_terminal=False).print(board)
    return file.getvalue().splitlines()


def test_before_anything_runs_the_board_says_that_workers_start(board):
    assert drawn(board) == ["depth 0/4 done, starting workers (0 s)"]
    board._now.seconds = 65.0
    assert drawn(board) == ["depth 0/4 done, starting workers (1 min 05 s)"]


def test_a_resumed_sweep_says_so_too_until_a_trial_begins(board):
    board.start(changed(status(1, state="stopped", attempt=1)))
    assert drawn(board) == ["depth 0/4 done, 1 stopped, starting workers (0 s)"]
    board.update(changed(status(1, attempt=2)))
    assert "starting workers" not in drawn(board)[-1]


def test_each_running_trial_has_a_line_with_all_that_is_known_of_it(board):
    board.update(
        changed(
            status(
                1,
                epoch=5,
                attempt=2,
                test_accuracy=61.25,
                images_per_second=1234.0,
                owner="node1, pid 7, GPU 3",
                gpu="3",
            )
        )
    )
    header, line, summary = drawn(board)
    assert header.split() == ["trial", "epoch", "test", "acc", "speed", "where"]
    assert line.split() == [
        *("d14", "bn_only", "s0", "━━━━━━──────", "5/10"),
        *("61.2", "%", "1.2k", "img/s", "try", "2", "GPU", "3", "node1"),
    ]
    assert summary == "depth 0/4 done, 1 running"


def test_the_lines_fit_80_columns_and_the_screen(board):
    running = [
        status(
            n,
            epoch=5,
            attempt=2,
            test_accuracy=61.2,
            images_per_second=9e4,
            owner="a-long-host-name, 1",
            gpu="3",
        )
        for n in range(4)
    ]
    board.update(running)
    lines = drawn(board, height=9)
    assert max(map(len, lines)) <= 80
    assert "GPU 3 a" in lines[1]
    assert "… and 2 more" in lines


def test_the_time_left_is_scaled_by_flops_from_finished_trials_and_says_so(board):
    board._now.seconds = 60.0
    finished = [status(0, "finished", epoch=10, seconds=30.0)]
    board.update(changed(*finished, status(1, epoch=5)))
    text = board.summary()
    left, basis = board.time_left()
    work = [costs.training_flops(spec) for spec in SPECS]
    assert left == pytest.approx(30.0 * (work[1] / 2 + work[2] + work[3]) / work[0])
    assert basis == "as 1 took"
    assert text == f"1/4 done, 1 running · 1/min · {clock(left)} left (as 1 took)"


def test_without_a_finished_trial_no_time_is_guessed(board):
    board.update(changed(status(0, epoch=5)))
    assert board.time_left() == (None, "")


def test_trials_that_were_finished_before_are_not_counted_into_the_rate():
    board = Board(LAUNCH, now=Clock())
    board.start(changed(status(0, "finished", epoch=10, seconds=3.0)))
    board._now.seconds = 60.0
    board.update(changed(status(0, "finished", epoch=10, seconds=3.0)))
    assert "/min" not in board.summary()


EVENTS = [
    (status(0, owner="h, pid 1"), ["begun"], "d14 all s0: begins (h, pid 1)"),
    (
        status(0, attempt=2, owner="h, pid 1"),
        ["begun"],
        "d14 all s0: begins, attempt 2 (h, pid 1)",
    ),
    (
        status(0, "finished", epoch=10, test_accuracy=71.2, seconds=65.0),
        ["begun", "epoch", "finished"],
        "d14 all s0: finished, test accuracy 71.20 % in 1 min 05 s",
    ),
    (
        status(0, "failed", epoch=3, cause="ValueError: no"),
        ["begun", "epoch", "failed"],
        "d14 all s0: failed after epoch 3: ValueError: no",
    ),
]


@pytest.mark.parametrize(("new", "kinds", "text"), EVENTS)
def test_events_say_what_happened_in_a_line(board, new, kinds, text):
    events = board.update(changed(new))
    assert [event.kind for event in events] == kinds
    assert events[-1].text == text


def test_nothing_new_is_no_event(board):
    board.update(changed(status(0, epoch=1)))
    assert board.update(changed(status(0, epoch=1))) == []


def test_a_trial_that_fails_again_is_told_again(board):
    failed = status(0, "failed", cause="ValueError: no")
    board.update(changed(failed))
    again = dataclasses.replace(failed, attempt=2)
    assert [event.kind for event in board.update(changed(again))] == ["begun", "failed"]


def test_an_event_as_json_has_the_status_and_its_kind():
    event = Event("epoch", "d14 all s0", status(0, epoch=1, test_accuracy=12.5))
    found = event.to_json()
    assert (found["event"], found["trial_id"], found["epoch"]) == ("epoch", IDS[0], 1)


def test_labels_name_what_differs_between_the_trials():
    specs = [TrialSpec(depth=14, lr=lr, seed=1) for lr in (0.1, 0.2)]
    assert list(labels(specs).values()) == ["d14 all lr=0.1 s1", "d14 all lr=0.2 s1"]
    longer = [TrialSpec(depth=14, epochs=epochs) for epochs in (10, 20)]
    assert list(labels(longer).values()) == ["d14 all epochs=10 s0", "d14 all epochs=20 s0"]
    wide = [TrialSpec(depth=14, width=w, trainable="random_k", k=2) for w in (1, 2)]
    assert list(labels(wide).values()) == ["d14 random_2 w1 s0", "d14 random_2 w2 s0"]
    ready = [TrialSpec(model=name) for name in ("torchvision/resnet18", "timm/resnet18")]
    assert list(labels(ready).values()) == ["torchvision/resnet18 all s0", "timm/resnet18 all s0"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (61, "1 min 01 s"), (7500, "2 h 05 min")],
)
def test_times_are_said_for_a_person(seconds, text):
    assert clock(seconds) == text
