"""What stands in a store, a sweep file or a log reaches no terminal as it is."""

import json
import re

import pytest
from made_store import FAILED, RUNNING, begun
from terminal import Terminal

from orchestrator.launching.board import Board
from orchestrator.launching.progress import InLines
from orchestrator.store import ownership
from orchestrator.store.failures import Failure
from orchestrator.store.folder import LOG, START

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\u200b\x08"
SHOWN = "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202eevil\\u200b\\x08"


@pytest.fixture
def hostile(launched):
    """A store in which a failure, a log and the name of a host are an attacker's."""
    ownership.fail(
        begun(launched, FAILED),
        Failure(failure="code", cause=HOSTILE, traceback=f"Traceback\n{HOSTILE}\n", host=HOSTILE),
    )
    attempt = launched.attempt_folder(FAILED.trial_id, 2)
    (attempt / LOG).write_text(f"{HOSTILE}\n\x1b[31mred\n10 %\r20 %\r\n")
    start = launched.attempt_folder(RUNNING.trial_id, 1) / START
    start.write_text(json.dumps(json.loads(start.read_text()) | {"host": HOSTILE}))
    return launched


@pytest.mark.parametrize(
    "command",
    [
        ("status", "depth"),
        ("show", FAILED.trial_id),
        ("show", RUNNING.trial_id),
        ("logs", FAILED.trial_id),
        ("discard", RUNNING.trial_id),
        ("status", "depth", "--json"),
        ("stop", HOSTILE),
    ],
    ids=lambda command: " ".join(map(str, command[:1])),
)
def test_it_is_spelled_out(command, bnsweep, hostile):
    said = bnsweep(*command)
    for text in (said.out, said.err):
        text = re.sub(r"\x1b\[(31|0)m", "", text) if command[0] == "logs" else text
        assert all(c.isprintable() or c == "\n" for c in text)
    assert "evil" in said.out + said.err


def test_the_cause_is_shown_whole(bnsweep, hostile):
    assert SHOWN in bnsweep("show", FAILED.trial_id).out.replace("\n", "").replace(" ", "")
    assert f"code: {SHOWN}" in bnsweep("logs", FAILED.trial_id).out


def test_a_log_keeps_its_colours_and_each_line_that_was_written_over(bnsweep, hostile):
    log = bnsweep("logs", FAILED.trial_id).out
    assert f"{SHOWN}\n\x1b[31mred\n10 %\n20 %\n\x1b[0m" in log


def test_a_sweep_file_is_spelled_out_in_what_is_wrong_with_it(bnsweep, tmp_path):
    (tmp_path / "s.yaml").write_text('name: "a\\e]0;owned\\a"\nbase: {"de\\u202epth": 14}\n')
    said = bnsweep("plan", tmp_path / "s.yaml")
    assert said.code == 2
    assert all(c.isprintable() or c == "\n" for c in said.out + said.err)


def test_the_board_and_the_lines_of_a_launch_are_printable(hostile, capsys):
    import sys

    from orchestrator.cli import screen

    launch = hostile.newest_launch("depth")
    statuses = [hostile.state(spec) for spec in launch.specs]
    board = Board(launch)
    board.start(statuses)
    screen.show(board)
    lines = InLines(sys.stdout)
    lines.started(launch, [])
    lines.update(statuses)
    shown = capsys.readouterr().out
    assert "evil" in shown
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_on_a_terminal_only_our_own_sequences_arrive(bnsweep, hostile):
    terminal = Terminal("--debug", "show", FAILED.trial_id)
    _, code = terminal.end()
    assert code == 0
    rest = re.sub(r"\x1b\[[0-9;]*m", "", terminal._shown)
    assert "evil" in rest
    assert all(c.isprintable() or c in "\r\n" for c in rest)
