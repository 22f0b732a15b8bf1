"""launch, resume and stop from the command line, with real trials of the smallest network."""

import json
import os
import re
from pathlib import Path

import pytest
from webhook import listening

from orchestrator.cli import outcome_text
from orchestrator.errors import UnreachableError
from orchestrator.launching import detach
from orchestrator.launching.driver import Outcome
from orchestrator.library import Sweep
from orchestrator.store.records import TrialStatus
from orchestrator.store.store import Store
from orchestrator.tracking.forwarder import Backlog


@pytest.fixture
def launch(bnsweep, tiny):
    """Launches the tiny sweep in this process."""
    return lambda *more: bnsweep("launch", tiny, "--inline", "--set", "epochs=1", *more)


def test_a_launch_trains_and_ends_with_the_table_and_what_to_type_next(launch):
    said = launch()
    assert said.code == 0
    lines = [line for line in said.out.splitlines() if line]
    assert lines[0] == "Test accuracy in %, mean ± standard deviation over seeds (n)"
    assert lines[1].split() == ["model", "all", "bn_only"]
    assert lines[2].split()[0] == "cifar_resnet"
    assert re.fullmatch(r"tiny: 2 finished in \d+ (s|min \d\d s)", lines[-1])
    assert "tiny: 2 of 2 trials to run" in said.err
    assert "curves:         bnsweep ui tiny" in said.err


def test_each_event_is_a_line_where_there_is_no_terminal(launch):
    err = launch().err
    for event in ("d8 all s0: begins", "d8 all s0: finished", "d8 bn_only s0: finished"):
        assert sum(event in line for line in err.splitlines()) == 1
    assert "\x1b" not in err


def test_launching_again_trains_nothing_and_says_the_same_table(launch):
    first, second = launch(), launch()
    assert second.code == 0
    took = r" in \d+ (s|min \d\d s)$"
    assert re.sub(took, "", second.out, flags=re.M) == re.sub(took, "", first.out, flags=re.M)
    assert "0 of 2 trials to run" in second.err
    assert "begins" not in second.err


def test_quiet_leaves_the_table_and_the_advice(launch):
    said = launch("--quiet")
    assert "begins" not in said.err
    assert "2 finished" in said.out


def test_events_as_json_are_lines_alone_on_standard_output(launch):
    said = launch("--json")
    events = [json.loads(line) for line in said.out.splitlines()]
    kinds = [event["event"] for event in events]
    assert said.err == ""
    assert (kinds[0], kinds[-1]) == ("launched", "ended")
    assert kinds.count("finished") == 2
    assert events[-1]["counts"]["finished"] == 2
    assert events[-1]["exit_code"] == 0


def test_the_tracker_has_the_runs_after_a_launch(launch, bnsweep):
    launch()
    assert bnsweep("audit", "tiny").code == 0
    assert bnsweep("sync", "tiny").out == "tiny: the tracker has everything\n"


def test_a_dead_tracker_costs_nothing_but_a_line_and_sync_is_named(launch, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    said = launch()
    assert said.code == 0
    assert "MLflow lacks 2 trials" in said.err
    assert "bnsweep sync tiny" in said.err


def test_a_failed_trial_is_told_at_once_and_at_the_end_and_resume_can_name_it(launch, bnsweep):
    said = launch("--set", "lr=1e30")
    assert said.code == 1
    assert "failed after epoch 0" in said.err
    assert "failed: 2 trials: " in said.err or "failed: d8 all s0: " in said.err
    assert "see: bnsweep logs " in said.err
    assert "Traceback" not in said.err
    again = bnsweep("resume", "tiny", "--inline", "--json")
    assert "begun" not in [json.loads(line)["event"] for line in again.out.splitlines()]
    (failed,) = {
        trial["trial_id"]
        for trial in json.loads(bnsweep("status", "tiny", "--json").out)["trials"]
        if "-all-" in trial["trial_id"]
    }
    named = bnsweep("resume", "tiny", "--inline", "--json", "--trial", failed)
    begun = [json.loads(line) for line in named.out.splitlines() if '"begun"' in line]
    assert [event["trial_id"] for event in begun] == [failed]


def test_resume_takes_the_data_folder_of_its_launch(launch, bnsweep, tmp_path, monkeypatch):
    theirs, store = tmp_path / "theirs", Store(tmp_path / "runs")
    theirs.mkdir()
    launch("--data", theirs)

    def of_resume(*more):
        assert bnsweep("resume", "tiny", "--inline", *more).code == 0
        return store.newest_launch("tiny").data

    assert of_resume() == str(theirs)
    assert of_resume("--data", tmp_path) == str(tmp_path)
    monkeypatch.setenv("BNSWEEP_DATA", str(tmp_path / "env"))
    assert of_resume() == str(tmp_path / "env")
    monkeypatch.delenv("BNSWEEP_DATA")
    monkeypatch.chdir(tmp_path)
    assert of_resume() == str(tmp_path / "data")  # the newest launch's is not on this machine


@pytest.mark.parametrize(
    ("states", "advice"),
    [
        ([("pending", None), ("stopped", None)], []),
        ([("pending", None), ("stopped", 0)], []),
        ([("pending", None), ("stopped", 1)], ["curves"]),
        ([("failed", 1), ("finished", 1)], ["curves", "figures"]),
        ([("finished", 0), ("finished", 0)], ["curves", "figures"]),
    ],
)
def test_curves_and_figures_are_advised_where_there_are_some(tiny, states, advice):
    sweep = Sweep.load(tiny)
    statuses = tuple(
        TrialStatus(spec.trial_id, state, epoch=epoch)
        for spec, (state, epoch) in zip(sweep.trials, states, strict=True)
    )
    outcome = Outcome(1, statuses, stopped=True, backlog=Backlog(), seconds=1.0)
    lines = outcome_text.next_commands(sweep, outcome, "bnsweep ui tiny")
    kinds = [line.partition(":")[0] for line in lines]
    assert [kind for kind in kinds if kind in ("curves", "figures")] == advice
    assert kinds[-1] == "each trial"


def test_resume_finishes_what_a_stop_left(launch, bnsweep, tmp_path):
    launch("--json")
    store = Store(tmp_path / "runs")
    first = store.newest_launch("tiny").specs[0]
    store.discard(first.trial_id)
    said = bnsweep("stop", "tiny")
    assert said.out.startswith("tiny: nothing new begins; 0 running trials")
    assert store.stop_for("tiny", 1).mode == "graceful"
    assert bnsweep("resume", "tiny", "--inline").code == 0
    assert store.state(first).state == "finished"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resume", "tiny.yaml"], "sweep tiny.yaml: not in "),
        (["resume", "depth", "--trial", "nope"], "trial nope: not in "),
        (["stop", "depht"], "sweep depht: not in "),
    ],
)
def test_a_wrong_name_is_a_mistake_that_starts_nothing(bnsweep, launched, arguments, message):
    said = bnsweep(*arguments)
    assert said.code == 2
    assert said.err.startswith(message)


def test_a_plan_beyond_its_limit_is_not_launched(launch, tmp_path):
    said = launch("--max-memory", "0.0001")
    assert said.code == 2
    assert "--max-memory" in said.err
    assert not (tmp_path / "runs" / "sweeps").exists()


def test_missing_data_is_one_line_before_anything_starts(bnsweep, tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # as without a network
    said = bnsweep("launch", "sweeps/cifar10-small.yaml", "--data", tmp_path / "data", "-q", "-y")
    assert said.code == 2
    (line,) = said.err.splitlines()
    assert "unpack cifar-10-python.tar.gz" in line
    assert str(tmp_path / "data") in line
    assert not (tmp_path / "runs").exists()


def test_a_detached_launch_outlives_its_caller_and_can_be_watched(tiny, bnsweep, tmp_path):
    store = Store(tmp_path / "runs")
    said = bnsweep("launch", tiny, "--inline", "--set", "epochs=1", "--detach", "--json")
    begun = json.loads(said.out)
    assert (said.code, begun["launch"]) == (0, 1)
    assert os.getsid(begun["pid"]) == begun["pid"]
    os.waitpid(begun["pid"], 0)
    assert [store.state(spec).state for spec in store.newest_launch("tiny").specs] == [
        "finished",
        "finished",
    ]
    assert '"event": "ended"' in store.detached_log("tiny").read_text()


def test_the_log_of_a_launch_in_the_background_is_never_cut(tmp_path):
    log = tmp_path / "detached.log"
    for word in ("first", "second"):
        started = detach.start([word], log)
        with pytest.raises(UnreachableError, match="ended") as caught:
            detach.wait_for_launch(started, Store(tmp_path), "tiny", 0)
        assert word in "\n".join(caught.value.lines)
    assert "first" not in "\n".join(caught.value.lines)
    assert log.read_text().index("first") < log.read_text().index("second")


def test_a_detached_launch_that_cannot_begin_says_why(tiny, bnsweep, tmp_path):
    (tmp_path / "runs" / "sweeps").write_text("a file where a folder should be")
    said = bnsweep("launch", tiny, "--inline", "--detach")
    assert said.code == 3
    assert "Traceback" not in said.err


def test_the_end_of_a_launch_links_to_the_charts_on_the_configured_server(
    launch, mlflow_server, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    said = launch()
    (line,) = [line for line in said.err.splitlines() if line.startswith("curves:")]
    assert line.split()[1].startswith(f"{mlflow_server.url}/#/experiments/")


def test_the_charts_of_a_database_are_served_by_a_verb(launch, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mine.db")
    assert "curves:         bnsweep ui tiny" in launch().err.splitlines()


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("MLFLOW_TRACKING_URI", "file:///srv/mlruns", 2),
        ("MLFLOW_TRACKING_URI", "databricks", 2),
        ("MLFLOW_TRACKING_URI", "./mlruns", 2),
        ("MLFLOW_TRACKING_URI", "127.0.0.1:5000", 2),
        ("RAY_ADDRESS", "127.0.0.1:1", 3),
    ],
)
def test_an_environment_that_cannot_work_is_refused_before_anything_starts(
    bnsweep, tiny, tmp_path, monkeypatch, name, value, code
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv(name, value)
    said = bnsweep("launch", tiny, "-y")
    assert said.code == code
    refusal = said.err.splitlines()[-1]
    assert refusal.startswith(f"{name}: ")
    assert value in refusal
    assert not Store(tmp_path / "runs").sweeps()
    planned = bnsweep("plan", tiny)
    assert planned.code == 0
    assert f"a launch would be refused: {refusal}" in planned.err


ON_FINISH = (
    'echo "$BNSWEEP_SWEEP $BNSWEEP_EXIT_CODE $BNSWEEP_FINISHED $BNSWEEP_FAILED"'
    ' "$BNSWEEP_STORE [$BNSWEEP_DETACHED]"; exit 7'
)


@pytest.mark.parametrize(
    ("options", "code", "ended"),
    [(("--set", "seeds=1"), 0, "tiny 0 2 0"), (("--set", "lr=1e30"), 1, "tiny 1 0 2")],
)
def test_a_command_runs_once_after_a_launch_with_how_it_ended(
    launch, tmp_path, options, code, ended
):
    said = launch("--on-finish", ON_FINISH, "--json", *options)
    assert said.code == code  # not the command's
    assert json.loads(said.out.splitlines()[-1])["event"] == "ended"
    lines = said.err.splitlines()
    assert lines.count(f"{ended} {tmp_path / 'runs'} []") == 1
    assert lines[-1].startswith("--on-finish: ended with code 7: echo")


def test_a_command_runs_after_a_launch_that_ends_with_an_error_and_not_after_a_refusal(
    launch, tmp_path, monkeypatch
):
    assert "ended with code" not in launch("--max-memory", "0.0001", "--on-finish", "exit 7").err
    (tmp_path / "runs" / "sweeps").write_text("a file where a folder should be")
    said = launch("--on-finish", 'echo "code $BNSWEEP_EXIT_CODE, $BNSWEEP_FINISHED"')
    assert said.code == 3
    assert "code 3, " in said.err.splitlines()


def test_a_detached_launch_runs_the_command_when_it_has_ended(tiny, bnsweep, tmp_path):
    more = ("--set", "epochs=1", "--detach", "--json", "--on-finish", ON_FINISH)
    begun = json.loads(bnsweep("launch", tiny, "--inline", *more).out)
    os.waitpid(begun["pid"], 0)
    log = Store(tmp_path / "runs").detached_log("tiny").read_text()
    assert f"tiny 0 2 0 {tmp_path / 'runs'} []" in log


def test_a_webhook_of_the_settings_file_is_told_and_off_keeps_it_quiet(
    launch, tmp_path, monkeypatch
):
    with listening(404) as webhook:
        (tmp_path / "mine.yaml").write_text(f"notify: {webhook.url()}\n")
        monkeypatch.setenv("BNSWEEP_SETTINGS", str(tmp_path / "mine.yaml"))
        assert launch("--notify", "off").code == 0
        assert webhook.messages == []
        said = launch("--json")
    events = [json.loads(line) for line in said.out.splitlines()]
    assert (said.code, said.err) == (0, "")
    problem = "notify: 127.0.0.1 answered 404; the launch is not affected"
    assert events[-2] == {"event": "note", "text": problem}
    assert events[-1]["event"] == "ended"
    assert [sent["event"] for sent in webhook.messages] == ["done"]


@pytest.mark.parametrize("option", ["--notify {}", "--notify={}"])
def test_a_launch_in_the_background_tells_a_webhook_and_its_address_is_nowhere_to_be_read(
    tiny, bnsweep, tmp_path, option
):
    with listening("never") as webhook:  # so long the launch waits for it
        more = option.format(webhook.url()).split()
        said = bnsweep("launch", tiny, "--inline", "--set", "epochs=1", "-d", "--json", *more)
        begun = json.loads(said.out)
        assert [sent["event"] for sent in webhook.wait_for(1)] == ["done"]
        shown = Path(f"/proc/{begun['pid']}/cmdline").read_text().split("\0")
        webhook.over.set()
        os.waitpid(begun["pid"], 0)
    assert "launch" in shown
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("s3cret" in word for word in shown)
    assert not any(b"s3cret" in path.read_bytes() for path in kept)


def test_a_webhook_that_is_no_address_is_a_mistake_that_starts_nothing(launch, bnsweep, tmp_path):
    said = launch("--notify", "hooks.example.org/s3cret")
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith("--notify: found no web address; allowed: https")
    assert "s3cret" not in said.err + said.out
    assert not Store(tmp_path / "runs").sweeps()


def test_hours_that_cannot_be_checked_are_refused_where_nobody_is_asked(launch, bnsweep, tiny):
    said = launch("--max-gpu-hours", "1", "--set", "resources.gpus=1")
    assert said.code == 2
    assert "--max-gpu-hours cannot be checked: 2 trials are of unknown length" in said.err
    planned = bnsweep("plan", tiny, "--max-gpu-hours", "1", "--set", "resources.gpus=1")
    assert planned.code == 0
    assert "--max-gpu-hours cannot be checked" in planned.err


def test_hours_that_are_spent_pause_a_launch_and_resume_has_a_limit_of_its_own(
    bnsweep, tiny, tmp_path, monkeypatch
):
    monkeypatch.setenv(detach.CHILD, "1")  # its length is unknown, and its parent has asked
    limit = ("--max-gpu-hours", str(1 / 3600))
    said = bnsweep("launch", tiny, "--inline", "--set", "epochs=100000", *limit)
    assert said.code == 4
    (line,) = [line for line in said.err.splitlines() if " GPU-hours are taken, " in line]
    assert line.endswith("to go on: bnsweep resume tiny --max-gpu-hours MORE")
    again = bnsweep("resume", "tiny", "--inline", "--json", *limit)
    ended = json.loads(again.out.splitlines()[-1])
    assert (again.code, ended["exit_code"], ended["stop_cause"]) == (4, 4, "max_gpu_hours")
    store = Store(tmp_path / "runs")
    attempts = [store.state(spec).attempt for spec in store.newest_launch("tiny").specs]
    assert attempts == [2, 0]
    monkeypatch.delenv(detach.CHILD)
    assert bnsweep("resume", "tiny", "--inline", "-y", *limit).code == 2
