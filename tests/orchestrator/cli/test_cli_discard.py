"""discard: a trial begins anew, and its files are kept."""

from made_store import FAILED, FINISHED, RUNNING


def test_a_discarded_trial_is_pending_again_and_its_files_are_kept(bnsweep, launched):
    said = bnsweep("discard", FINISHED.trial_id)
    assert said.code == 0
    assert launched.state(FINISHED).state == "pending"
    assert (launched.root / "discarded" / f"{FINISHED.trial_id}-1" / "result.json").exists()
    assert said.err == "next: bnsweep resume depth\n"


def test_a_running_trial_is_not_discarded(bnsweep, launched):
    said = bnsweep("discard", RUNNING.trial_id)
    assert said.code == 2
    assert "stop it first" in said.err
    assert launched.state(RUNNING).state == "running"


def test_a_failed_trial_can_be_discarded_by_its_hash(bnsweep, launched):
    assert bnsweep("discard", FAILED.trial_id.rpartition("-")[2]).code == 0
    assert launched.state(FAILED).state == "pending"
