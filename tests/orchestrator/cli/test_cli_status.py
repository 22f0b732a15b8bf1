"""status on a store with a finished, a failed, a running and a pending trial."""

import json
import os
import re
import socket
import time

import pytest
from made_store import FAILED, FINISHED, PENDING, RUNNING, begun

from orchestrator import machine
from orchestrator.cli.commands.status import next_command, progress_or_cause
from orchestrator.launching.board import seconds_left
from orchestrator.store import liveness, ownership
from orchestrator.store.failures import Failure
from orchestrator.store.folder import HEARTBEAT
from orchestrator.store.records import TrialStatus
from trainer import journal, results


def test_status_lists_the_sweeps(bnsweep, launched):
    said = bnsweep("status")
    assert said.out.splitlines()[1].startswith("depth ")
    assert said.out.rstrip().endswith("1 pending, 1 running, 1 finished, 1 failed")


def test_status_says_who_runs_what(bnsweep, launched):
    before = launched.newest_launch("depth")
    alice = before.model_copy(update={"user": "alice", "host": "node7"})
    newest = launched.record_launch(alice)  # whose trials have not begun yet
    said = json.loads(bnsweep("status", "--json").out)["sweeps"]
    counts = {"pending": 1, "running": 1, "finished": 1, "failed": 1, "stopped": 0}
    assert said == [{"sweep": "depth", "counts": counts, "user": "", "host": "here"}]
    assert re.search(r"\d\d:\d\d:\d\d +here +1 pending, ", bnsweep("status").out)
    begins(launched, PENDING, "depth", newest.number)
    (said,) = json.loads(bnsweep("status", "--json").out)["sweeps"]
    assert (said["user"], said["host"]) == ("alice", "node7")
    assert "alice on node7, here" in bnsweep("status").out


def test_a_sweep_whose_trials_another_one_trains_has_no_running_launch(bnsweep, launched):
    first = launched.newest_launch("depth")
    sweep = first.sweep.model_copy(update={"name": "other"})
    launched.record_launch(first.model_copy(update={"sweep": sweep}))
    depth, other = json.loads(bnsweep("status", "--json").out)["sweeps"]
    assert other["counts"]["running"] == 1
    assert (depth["host"], other["host"], other["user"]) == ("here", None, None)


def begins(store, spec, sweep, launch):
    assert ownership.claim(store, spec, liveness.this_process(sweep, launch))


def test_a_running_trial_says_whose_it_is_and_where(bnsweep, launched):
    (trial,) = [
        trial
        for trial in json.loads(bnsweep("status", "depth", "--json").out)["trials"]
        if trial["state"] == "running"
    ]
    me = machine.user_name()
    assert (trial["user"], trial["host"]) == (me, socket.gethostname())
    text = progress_or_cause(launched.state(RUNNING), RUNNING)
    assert text.endswith(f"{socket.gethostname()[:16]}, by {me}")
    assert f" by {me}" in bnsweep("show", RUNNING.trial_id).out


def test_a_start_of_before_names_no_user(launched):
    folder = launched.attempt_folder(RUNNING.trial_id, 1)
    start = json.loads((folder / "start.json").read_bytes())
    assert start.pop("user") == machine.user_name()
    assert start["host"] == socket.gethostname()
    (folder / "start.json").write_text(json.dumps(start))
    assert (launched.state(RUNNING).user, launched.state(RUNNING).state) == ("", "running")


def test_status_of_an_empty_store_says_how_to_begin(bnsweep):
    said = bnsweep("status")
    assert (said.code, said.out) == (0, "")
    assert "begin with: bnsweep launch" in said.err


def test_status_of_a_sweep_shows_each_trial_and_the_causes(bnsweep, launched):
    lines = bnsweep("status", "depth").out.splitlines()
    by_id = {line.split()[3]: line for line in lines if line.startswith("d14 bn_only s")}

    def line(spec):
        return by_id[spec.trial_id.rpartition("-")[2]]

    assert line(FINISHED).split()[4:] == ["finished", "3/3", "71.25"]
    assert line(FAILED).endswith("ValueError: no such thing")
    assert line(RUNNING).split()[4:7] == ["running", "1/3", "20.00"]
    assert line(PENDING).split()[4:] == ["pending", "0/3"]
    assert lines[-1] == "depth: 1 pending, 1 running, 1 finished, 1 failed"


def test_status_as_json_has_the_promised_keys(bnsweep, launched):
    said = bnsweep("status", "depth", "--json")
    found = json.loads(said.out)
    assert said.err == ""
    assert found["sweep"] == "depth"
    assert found["counts"] == {
        "pending": 1,
        "running": 1,
        "finished": 1,
        "failed": 1,
        "stopped": 0,
    }
    promised = {"trial_id", "state", "attempt", "epoch", "epochs", "test_accuracy", "cause"}
    assert len(found["trials"]) == 4
    assert all(promised <= set(trial) for trial in found["trials"])


def test_an_unknown_sweep_is_a_mistake_with_the_nearest_name(bnsweep, launched):
    said = bnsweep("status", "depht")
    assert said.code == 2
    assert said.err == f"sweep depht: not in {launched.root}; did you mean depth?\n"


def test_a_running_trial_shows_its_speed_and_the_time_it_has_left(bnsweep, launched):
    spec = RUNNING.changed(seed=9)
    claim = begun(launched, spec)
    record = journal.read(claim.folder / results.JOURNAL)[-1]
    faster = record.model_copy(
        update={"epoch": 2, "seq": 2, "metrics": {"images_per_second": 1000.0}}
    )
    journal.append(claim.folder / results.JOURNAL, [faster])
    status = launched.state(spec)
    assert seconds_left(status, spec) == 50.0  # an epoch of CIFAR-10 is 50,000 images
    assert progress_or_cause(status, spec).startswith("1000 img/s, 50 s left, ")


def says(claim, age_s, **said):
    """Let the trial's heartbeat say this, and make it and the checkpoint `age_s` old."""
    beat, kept = claim.folder / HEARTBEAT, claim.folder / results.CHECKPOINT
    beat.write_text(liveness.Progress(**said, seconds_since_step=0.0).model_dump_json())
    kept.touch()
    for path in (beat, kept):
        os.utime(path, (time.time() - age_s,) * 2)


def test_a_running_trial_shows_its_step_and_how_old_it_and_the_checkpoint_are(bnsweep, launched):
    spec = RUNNING.changed(seed=9)
    claim = begun(launched, spec)
    says(claim, 125.0, epoch=2, step=1501, steps=5004)
    status = launched.state(spec)
    assert (status.step, status.steps) == (1501, 5004)
    assert 125 <= status.seconds_since_step < 185
    assert 125 <= status.seconds_since_checkpoint < 185
    assert status.epochs_done == pytest.approx(1.3, abs=1e-3)
    text = progress_or_cause(status, spec)
    assert re.search(r"step 1501/5004, last step 2 min .*, last checkpoint 2 min ", text)
    says(claim, 0.0, epoch=2, step=1501, steps=5004)
    text = progress_or_cause(launched.state(spec), spec)
    assert "step 1501/5004" in text
    assert "ago" not in text


def test_a_step_of_an_epoch_that_is_over_is_not_shown(launched):
    spec = RUNNING.changed(seed=9)
    says(begun(launched, spec), 0.0, epoch=1, step=390, steps=391)
    status = launched.state(spec)
    assert (status.epoch, status.step, status.steps) == (1, None, None)
    assert status.seconds_since_checkpoint is not None


def test_an_attempt_without_a_checkpoint_has_the_one_that_it_went_on_from(launched):
    spec = RUNNING.changed(seed=9)
    first = begun(launched, spec)
    says(first, 1000.0, epoch=2, step=7, steps=391)
    ownership.fail(first, Failure(failure="lost", cause="killed"))
    begun(launched, spec)
    status = launched.state(spec)
    assert (status.attempt, status.step) == (2, None)
    assert 1000 <= status.seconds_since_checkpoint < 1060


@pytest.mark.parametrize(
    ("states", "command"),
    [
        (["finished", "running", "failed"], "status depth -w"),
        (["finished", "failed", "pending"], "logs TRIAL"),
        (["finished", "stopped"], "resume depth"),
        (["finished", "pending"], "resume depth"),
        (["finished"], "report depth"),
    ],
)
def test_status_says_what_to_do_next(states, command):
    assert next_command("depth", [TrialStatus("t", state) for state in states]) == command


def test_a_store_that_is_a_file_is_a_mistake(bnsweep, tmp_path):
    (tmp_path / "runs").write_text("no folder")
    said = bnsweep("status")
    assert said.code == 2
    assert said.err == f"store {tmp_path / 'runs'}: is not a folder; give another with --store\n"


def test_a_sweep_that_cannot_be_read_is_a_line_and_the_others_are_listed(bnsweep, launched):
    folder = launched.sweeps_folder / "odd"
    folder.mkdir()
    (folder / "launches").symlink_to("launches")  # whoever looks, root too, is told of a loop
    said = bnsweep("status")
    assert (said.code, "depth" in said.out) == (0, True)
    why = f"{folder}/launches: Too many levels of symbolic links"
    assert f"sweep odd cannot be read: {why}" in said.err.replace("\n", " ")
    assert [sweep["sweep"] for sweep in json.loads(bnsweep("status", "--json").out)["sweeps"]] == [
        "depth"
    ]
    named = bnsweep("status", "odd")
    assert (named.code, why in named.err) == (3, True)
