"""status, show, logs on a store with a finished, a failed, a running and a pending trial."""

import json

import pytest
from made_store import FAILED, FINISHED, PENDING, RUNNING, begun

from orchestrator.cli.commands import watching
from orchestrator.store.records import TrialStatus
from trainer import journal, results


def test_status_lists_the_sweeps(bnsweep, launched):
    said = bnsweep("status")
    assert said.out.splitlines()[1].startswith("depth ")
    assert said.out.rstrip().endswith("1 pending, 1 running, 1 finished, 1 failed")


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
    assert all(promised <= set(trial) for trial in found["trials"])


def test_an_unknown_sweep_is_a_mistake_with_the_nearest_name(bnsweep, launched):
    said = bnsweep("status", "depht")
    assert said.code == 2
    assert said.err == f"sweep depht: not in {launched.root}; did you mean depth?\n"


def test_show_says_everything_and_why_a_trial_will_not_run(bnsweep, launched):
    said = bnsweep("show", FINISHED.trial_id)
    assert "finished: not trained again" in said.out
    for text in ("bn_only", "71.25", "175258", FINISHED.config_id, "device cpu", "depth"):
        assert text in said.out


def test_show_as_json_is_one_object(bnsweep, launched):
    found = json.loads(bnsweep("show", FAILED.trial_id, "--json").out)
    assert (found["state"], found["runs"], found["sweeps"]) == ("failed", True, ["depth"])
    assert "code: ValueError: no such thing" in found["attempt 1"]


def test_a_trial_that_nothing_has_begun_can_be_shown(bnsweep, launched):
    assert "not trained yet" in bnsweep("show", PENDING.trial_id).out


def test_the_beginning_or_the_hash_of_an_id_is_enough(bnsweep, launched):
    for typed in (FAILED.trial_id[:-3], FAILED.trial_id.rpartition("-")[2]):
        assert json.loads(bnsweep("show", typed, "--json").out)["trial_id"] == FAILED.trial_id


def test_an_ambiguous_beginning_names_the_candidates(bnsweep, launched):
    said = bnsweep("show", "cifar_resnet-d14")
    assert said.code == 2
    assert said.err.startswith("trial cifar_resnet-d14: means 4 trials: ")
    assert FINISHED.trial_id in said.err


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


def test_a_running_trial_shows_its_speed_and_the_time_it_has_left(bnsweep, launched):
    spec = RUNNING.changed(seed=9)
    claim = begun(launched, spec)
    record = journal.read(claim.folder / results.JOURNAL)[-1]
    faster = record.model_copy(
        update={"epoch": 2, "seq": 2, "metrics": {"images_per_second": 1000.0}}
    )
    journal.append(claim.folder / results.JOURNAL, [faster])
    status = launched.state(spec)
    assert watching.seconds_left(status, spec) == 50.0  # an epoch of CIFAR-10 is 50,000 images
    assert watching._remark(status, spec).startswith("1000 img/s, 50 s left, ")


def test_show_fits_one_screen(bnsweep, launched, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = bnsweep("show", FINISHED.trial_id).out.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80


def test_a_table_of_thousands_has_the_same_columns_without_colours():
    from orchestrator.cli import screen

    rows = [[f"trial {n}", screen.state("finished"), n] for n in range(screen.MANY + 1)]
    lines = str(screen.table(["trial", "state", "n"], rows, right=["n"])).splitlines()
    assert len(lines) == len(rows) + 1
    assert lines[0] == "trial       state        n"
    assert lines[8] == "trial 7     finished     7"
    assert len({len(line) for line in lines}) == 1


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
    assert watching._next("depth", [TrialStatus("t", state) for state in states]) == command


def test_a_log_in_which_nothing_stands_says_where_the_numbers_are(bnsweep, launched):
    said = bnsweep("logs", FINISHED.trial_id)
    assert (said.code, said.out) == (0, "")
    assert f"printed nothing; its numbers: bnsweep show {FINISHED.trial_id}" in said.err


def test_a_store_that_is_a_file_is_a_mistake(bnsweep, tmp_path):
    (tmp_path / "runs").write_text("no folder")
    said = bnsweep("status")
    assert said.code == 2
    assert said.err == f"store {tmp_path / 'runs'}: is not a folder; give another with --store\n"


def test_the_beginning_of_a_hash_is_enough(bnsweep, launched):
    beginning = FINISHED.trial_id.rpartition("-")[2][:5]
    assert json.loads(bnsweep("show", beginning, "--json").out)["trial_id"] == FINISHED.trial_id


def test_trials_under_way_are_told_before_a_second_launch(bnsweep, launched, tmp_path):
    file = tmp_path / "depth.yaml"
    file.write_text("name: depth\nbase: {depth: 14, trainable: bn_only, epochs: 3}\nseeds: 4\n")
    said = bnsweep("plan", file)
    assert "1 are being trained already" in said.out + said.err
    assert "to watch them: bnsweep status depth -w" in said.out + said.err
