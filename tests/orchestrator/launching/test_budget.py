"""--max-gpu-hours while a launch runs: what counts, and that it is a pause."""

import json

import pytest

from orchestrator import settings
from orchestrator.launching.budget import Budget
from orchestrator.launching.driver import InlineLauncher, launch
from orchestrator.launching.monitor import Observer
from orchestrator.launching.rounds import Order, RunningLaunch
from orchestrator.store import liveness, ownership
from orchestrator.store.failures import Failure
from orchestrator.store.records import Launch
from orchestrator.store.store import Store
from orchestrator.sweep.sweep_spec import SweepSpec
from trainer.spec import TrialSpec

TINY = TrialSpec(
    depth=8, dataset="synthetic", image_size=8, train_subset=64, batch_size=32, lr=0.01
)
TRIALS = tuple(TINY.changed(seed=seed) for seed in range(3))


class Remembering(Observer):
    def __init__(self):
        self.notes = []

    def note(self, text):
        if text.startswith("--max-gpu-hours"):
            self.notes.append(text)


@pytest.fixture
def counted(tmp_path):
    """A launch of three trials that takes two GPUs for each, with a clock that the test sets."""

    def counted(gpus=2.0, limit=1.0):
        store = Store(tmp_path / "runs")
        store.open_for_writing()
        sweep = SweepSpec(name="tiny", trials=TRIALS, resources={"gpus": gpus})
        record = store.record_launch(Launch(number=0, time_ms=0, host="here", sweep=sweep))
        order, here = Order(max_gpu_hours=limit), settings.load(store=store.root)
        running, clock = RunningLaunch(store, here, record, order), [0.0]
        return running, Budget(running, lambda: clock[0]), clock

    return counted


def claim(running, spec, launch=1, **more):
    owner = liveness.this_process("tiny", launch).model_copy(update=more)
    return ownership.claim(running.store, spec, owner)


ELSEWHERE = {"host": "node7", "boot_id": "theirs"}


def test_each_worker_counts_for_its_gpus_as_long_as_it_runs(counted):
    running, budget, clock = counted()
    assert not budget.spent(running.statuses())
    first = claim(running, TRIALS[0])
    clock[0] = 600.0
    assert not budget.spent(running.statuses())
    assert budget.spent_hours == pytest.approx(2 / 6)
    claim(running, TRIALS[1], **ELSEWHERE)
    clock[0] = 1200.0
    assert not budget.spent(running.statuses())  # 2/6 and twice 2/6: 1, which is allowed
    assert budget.spent_hours == pytest.approx(1.0)
    ownership.fail(first, Failure(failure="code", cause="a bug"))
    clock[0] = 1201.0
    assert budget.spent(running.statuses())
    assert budget.spent_hours == pytest.approx(1 + 2 / 3600)


def test_a_pack_counts_once_and_the_trials_of_other_launches_not_at_all(counted):
    running, budget, clock = counted()
    claim(running, TRIALS[0])
    claim(running, TRIALS[1])  # by the same process
    claim(running, TRIALS[2], launch=7, **ELSEWHERE)
    clock[0] = 360.0
    budget.spent(running.statuses())
    assert budget.spent_hours == pytest.approx(0.2)


@pytest.mark.parametrize(("gpus", "hours"), [(0.0, 0.0), (0.25, 250.0), ("auto", 1000.0)])
def test_the_unit_is_the_plans(counted, gpus, hours):
    running, budget, clock = counted(gpus, limit=300.0)
    claim(running, TRIALS[0])
    clock[0] = 3_600_000.0
    assert budget.spent(running.statuses()) == (hours > 300.0)
    assert budget.spent_hours == pytest.approx(hours)


def test_without_a_limit_nothing_is_spent(counted):
    running, budget, clock = counted(limit=None)
    claim(running, TRIALS[0])
    clock[0] = 3_600_000.0
    assert not budget.spent(running.statuses())


def test_a_launch_that_takes_longer_pauses_and_a_higher_limit_goes_on(tmp_path):
    here = settings.load(store=tmp_path / "runs")
    store, observer = Store(here.store), Remembering()
    sweep = SweepSpec(name="tiny", trials=(TINY.changed(epochs=100_000), *TRIALS))

    def run(limit):
        order = Order(max_gpu_hours=limit)
        return launch(sweep, here, InlineLauncher, order=order, observer=observer)

    outcome = run(2 / 3600)
    assert (outcome.exit_code, outcome.stop_cause) == (4, "max_gpu_hours")
    assert outcome.counts == {"pending": 3, "running": 0, "finished": 0, "failed": 0, "stopped": 1}
    (line,) = observer.notes
    assert line.endswith(
        "GPU-hours are taken, 0.000555556 are allowed; running trials end after their step; "
        "to go on: bnsweep resume tiny --max-gpu-hours MORE"
    )
    stop = json.loads((store.sweep_folder("tiny") / "stop.json").read_bytes())
    assert (stop["launch"], stop["mode"], stop["cause"]) == (1, "now", "max_gpu_hours")
    before = store.state(sweep.trials[0])
    again = run(4 / 3600)
    after = store.state(sweep.trials[0])
    assert (again.launch, again.exit_code) == (2, 4)  # its own four seconds are over as well
    assert (after.attempt, after.state) == (2, "stopped")
    assert after.epoch > before.epoch
    assert liveness.read_start(store.attempt_folder(after.trial_id, 2)).resumed_from.attempt == 1


def test_what_fits_ends_as_ever(tmp_path):
    here = settings.load(store=tmp_path / "runs")
    order = Order(max_gpu_hours=1.0)
    sweep = SweepSpec(name="tiny", trials=(TINY.changed(epochs=1),))
    outcome = launch(sweep, here, InlineLauncher, order=order)
    assert (outcome.exit_code, outcome.stopped, outcome.stop_cause) == (0, False, "")
