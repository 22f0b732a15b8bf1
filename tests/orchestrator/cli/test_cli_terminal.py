"""What a person sees on a terminal, and what Ctrl-C does there."""

import json
import os
import time

import pytest
from terminal import CTRL_C, Terminal

from orchestrator.store.folder import LOG
from orchestrator.store.store import Store

LONG = ("--set", "epochs=2000")


@pytest.fixture
def background(tiny, bnsweep, tmp_path):
    """A launch in the background whose trials last; ended after the test."""
    begun = json.loads(bnsweep("launch", tiny, "--inline", *LONG, "--detach", "--json").out)
    yield Store(tmp_path / "runs")
    bnsweep("stop", "tiny", "--now")
    os.waitpid(begun["pid"], 0)


def test_a_person_is_asked_before_a_plan_of_unknown_length_and_may_refuse(bnsweep, tiny, tmp_path):
    shown, code = Terminal("launch", tiny, "--inline", typed="n\n").end()
    assert "start 2 trials? [Y/n]" in shown
    assert shown.rstrip().endswith("nothing was started")
    assert code == 4
    assert not (tmp_path / "runs" / "sweeps").exists()


def test_a_person_is_told_that_hours_cannot_be_checked_and_asked(bnsweep, tiny):
    limit = ("--max-gpu-hours", "1")
    shown, code = Terminal("launch", tiny, "--inline", *limit, typed="n\n").end()
    assert "--max-gpu-hours cannot be checked: 2 trials are of unknown length" in shown
    assert "start 2 trials? [Y/n]" in shown
    assert code == 4


def test_a_terminal_shows_the_board_and_keeps_failures_above_it(bnsweep, tiny):
    wrong = ("--set", "epochs=1", "--set", "lr=1e30", "--set", "trainable=all")
    shown, code = Terminal("launch", tiny, "--inline", *wrong, typed="\n", out=False).end()
    assert "tiny 0/1 done, starting workers" in shown
    assert "d8 all s0: failed after epoch 0" in shown
    assert code == 1


def test_ctrl_c_ends_a_launch_with_a_checkpoint_and_says_how_to_go_on(bnsweep, tiny, tmp_path):
    terminal = Terminal("launch", tiny, "--inline", *LONG, typed="\n")
    terminal.until("1/2000")
    terminal.type(CTRL_C)
    shown, code = terminal.end()
    assert "stopping: running trials end after their step, with a checkpoint" in shown
    assert "bnsweep resume tiny" in shown
    assert "Traceback" not in shown
    assert code == 4
    store = Store(tmp_path / "runs")
    states = [store.state(spec).state for spec in store.newest_launch("tiny").specs]
    assert states == ["stopped", "pending"]


def test_a_resume_does_not_ask_again_what_its_launch_was_answered(bnsweep, tiny):
    terminal = Terminal("launch", tiny, "--inline", *LONG, typed="\n")
    terminal.until("1/2000")
    terminal.type(CTRL_C)
    terminal.end()
    terminal = Terminal("resume", "tiny", "--inline")
    terminal.until("/2000")
    terminal.type(CTRL_C)
    shown, code = terminal.end()
    assert "[Y/n]" not in shown
    assert code == 4


def test_a_launch_whose_terminal_closes_ends_with_a_checkpoint(bnsweep, tiny, tmp_path):
    terminal = Terminal("launch", tiny, "--inline", *LONG, typed="\n")
    terminal.until("1/2000")
    assert terminal.close() == 4
    store = Store(tmp_path / "runs")
    begun, _ = store.newest_launch("tiny").specs
    assert store.failure(begun.trial_id).failure == "stopped"


def test_watching_ends_with_the_sweep(bnsweep, tiny):
    begun = json.loads(bnsweep("launch", tiny, "--inline", "--detach", "--json").out)
    shown, code = Terminal("status", "tiny", "-w").end()
    os.waitpid(begun["pid"], 0)
    assert "tiny 2/2 done" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert code == 0


def test_ctrl_c_while_watching_only_stops_looking(background):
    terminal = Terminal("status", "tiny", "-w")
    terminal.until("1 running")
    terminal.type(CTRL_C)
    shown, code = terminal.end()
    assert (code, "Traceback" in shown) == (0, False)
    first = background.newest_launch("tiny").specs[0]
    assert background.state(first).state == "running"


def test_ctrl_c_ends_the_following_of_a_log(background):
    first = background.newest_launch("tiny").specs[0].trial_id
    log = background.attempt_folder(first, 1) / LOG
    while not log.exists():
        time.sleep(0.1)
    log.write_text("what the trial says\n")
    terminal = Terminal("logs", first, "-f")
    terminal.until("what the trial says")
    terminal.type(CTRL_C)
    shown, code = terminal.end()
    assert (code, "Traceback" in shown) == (0, False)
