"""logs on a store with a finished, a failed, a running and a pending trial."""

from made_store import FAILED, FINISHED, PENDING


def test_logs_begin_with_the_traceback_of_the_failed_attempt(bnsweep, launched):
    lines = bnsweep("logs", FAILED.trial_id).out.splitlines()
    assert lines[0] == "attempt 1 on node1, code: ValueError: no such thing"
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "epoch 1 done"


def test_logs_of_a_trial_that_was_never_begun_say_so(bnsweep, launched):
    said = bnsweep("logs", PENDING.trial_id)
    assert (said.code, said.out) == (0, "")
    assert "was never begun" in said.err


def test_following_the_log_of_a_trial_at_rest_ends(bnsweep, launched):
    assert bnsweep("logs", FAILED.trial_id, "-f").out.endswith("epoch 1 done\n")


def test_a_log_in_which_nothing_stands_says_where_the_numbers_are(bnsweep, launched):
    said = bnsweep("logs", FINISHED.trial_id)
    assert (said.code, said.out) == (0, "")
    assert f"printed nothing; its numbers: bnsweep show {FINISHED.trial_id}" in said.err
