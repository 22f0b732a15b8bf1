"""stop: which launches it reaches, and what it says."""

from made_store import FINISHED

from orchestrator.store.records import Launch


def test_a_finished_sweep_has_nothing_to_stop(bnsweep, launched):
    said = bnsweep("stop", "depth", "--trial", FINISHED.trial_id)
    assert said.out == "depth: is finished; there is nothing to stop\n"
    assert not (launched.sweep_folder("depth") / "stop.json").exists()


def test_stop_reaches_a_launch_from_before_the_sweep_lost_its_trials(bnsweep, launched):
    fields = (FINISHED.identity_fields(),)
    newer = launched.record_launch(
        Launch(sweep={"name": "depth", "trials": fields}, number=0, time_ms=1, host="here")
    )
    assert "1 running trials finish first" in bnsweep("stop", "depth").out
    assert launched.stop_for("depth", newer.number - 1).mode == "graceful"


def test_stop_reaches_a_launch_whose_file_is_damaged(bnsweep, launched):
    (launched.sweep_folder("depth") / "launches" / "2.json").write_bytes(b"{")
    assert bnsweep("stop", "depth").code == 0
    assert launched.stop_for("depth", 2).mode == "graceful"
