"""discard, stop, gc: what they change, and what they say."""

from made_store import FAILED, FINISHED, RUNNING

from orchestrator.store.records import Launch


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


def test_gc_shows_what_is_not_needed_and_removes_only_on_request(bnsweep, launched):
    bnsweep("discard", FAILED.trial_id)
    aside = launched.root / "discarded" / f"{FAILED.trial_id}-1"
    said = bnsweep("gc")
    assert str(aside.relative_to(launched.root)) in said.out
    assert said.err == "to remove them: bnsweep gc -y\n"
    assert aside.exists()
    assert "removed" in bnsweep("gc", "-y").out
    assert not aside.exists()
    assert launched.state(FINISHED).state == "finished"


def test_a_finished_sweep_has_nothing_to_stop(bnsweep, launched):
    said = bnsweep("stop", "depth", "--trial", FINISHED.trial_id)
    assert said.out == "depth: is finished; there is nothing to stop\n"
    assert not (launched.sweep_folder("depth") / "stop.json").exists()


def test_stop_reaches_a_launch_from_before_the_sweep_lost_its_trials(bnsweep, launched):
    fields = (FINISHED.identity_fields(),)
    newer = launched.record_launch(
        Launch(sweep="depth", number=0, time_ms=1, host="here", trials=fields)
    )
    assert "1 running trials finish first" in bnsweep("stop", "depth").out
    assert launched.stop_for("depth", newer.number - 1).mode == "graceful"


def test_stop_reaches_a_launch_whose_file_is_damaged(bnsweep, launched):
    (launched.sweep_folder("depth") / "launches" / "2.json").write_bytes(b"{")
    assert bnsweep("stop", "depth").code == 0
    assert launched.stop_for("depth", 2).mode == "graceful"
