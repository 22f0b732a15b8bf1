"""gc: what it finds and what it removes."""

from made_store import FAILED, FINISHED


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
