"""Random schedules of faults: two in `make test`, many with `make soak` (BNSWEEP_SOAK=number)."""

from __future__ import annotations

import os

import pytest
from harness import Tracker
from schedule import Scenario
from test_kills import assert_complete

SCHEDULES = int(os.environ.get("BNSWEEP_SOAK", "2"))
FIRST = int(os.environ.get("BNSWEEP_SOAK_FIRST", "0"))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SCHEDULES))
def test_after_a_random_schedule_of_faults_nothing_is_lost_or_double(harness, undisturbed, seed):
    tracker = Tracker(harness.folder)
    tracker.start()
    harness.tracking_uri = tracker.uri
    scenario = Scenario(harness, tracker, seed, faults=4 if SCHEDULES > 2 else 3)
    try:
        scenario.run()
        assert harness.run("sync", "tiny").returncode == 0
        assert_complete(harness, undisturbed, tracker.uri)
    except BaseException:
        print("faults:", scenario.done, "\n", harness.output())
        raise
    finally:
        tracker.kill()
    print(f"seed {seed}: {scenario.done}")
