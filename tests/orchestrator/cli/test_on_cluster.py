"""`--cluster` on the command line, against a head that is small but real HTTP."""

from __future__ import annotations

import pytest
from fake_head import SWEEP, serving

from orchestrator.cli import on_cluster, screen
from orchestrator.cluster import jobs
from orchestrator.errors import UnreachableError


@pytest.fixture
def head(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_POLL_S", 0.05)
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving(tmp_path) as head:
        yield head


@pytest.fixture
def sweep_file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SWEEP)
    return path


def travelled(head):
    """What the command line was there."""
    return [job["metadata"]["bnsweep"] for job in head.jobs.values()]


def test_status_from_the_cluster_is_what_status_is_here(head, bnsweep, launched):
    here = bnsweep("status", "depth")
    there = bnsweep("status", "depth", "--cluster", head.url)
    typed = here.err.replace("bnsweep status", f"bnsweep status --cluster {head.url}")
    assert (there.code, there.out, there.err) == (here.code, here.out, typed)


def test_the_cluster_may_be_named_by_the_environment(head, bnsweep, launched, monkeypatch):
    monkeypatch.setenv("BNSWEEP_CLUSTER", head.url)
    assert "finished" in bnsweep("status", "depth").out
    assert head.uploads == 1


def test_a_cluster_that_cannot_be_reached_is_one_line_and_exit_code_3(bnsweep):
    said = bnsweep("status", "--cluster=http://127.0.0.1:1")
    assert (said.code, said.out, said.err.count("\n")) == (3, "", 1)


@pytest.mark.parametrize("verb", ["launch", "resume"])
def test_a_webhooks_address_never_travels_where_anybody_can_read_it(
    head, bnsweep, sweep_file, verb
):
    where = ("--cluster", head.url, "-y")
    said = bnsweep(verb, sweep_file, "--notify", "https://hooks.example.org/s3cret", *where)
    assert (said.code, travelled(head)) == (2, [])
    assert said.err.startswith("--notify: stays at home, since anybody on the cluster can read")
    assert "s3cret" not in said.err


def test_a_verb_that_works_at_home_only_has_no_such_option(bnsweep, sweep_file):
    assert bnsweep("plan", sweep_file, "--cluster", "http://127.0.0.1:1").code == 2


@pytest.mark.parametrize(("answer", "code", "jobs_there"), [(False, 4, 0), (True, 0, 1)])
def test_a_person_at_a_terminal_is_asked_before_trials_travel(
    head, bnsweep, sweep_file, monkeypatch, answer, code, jobs_there
):
    asked = []
    monkeypatch.setattr(screen, "interactive", lambda: True)
    monkeypatch.setattr(screen, "ask", lambda question: asked.append(question) or answer)
    submit = ("launch", sweep_file, "--cluster", head.url, "--detach")
    assert (bnsweep(*submit).code, len(head.jobs)) == (code, jobs_there)
    assert asked == [f"submit 2 trials, of unknown length, to {head.url}?"]
    bnsweep(*submit, "-y")
    assert (len(asked), len(head.jobs)) == (1, 1)


def test_a_mistake_in_a_sweep_file_never_travels(head, bnsweep, sweep_file):
    sweep_file.write_text(SWEEP.replace("depth", "depht"))
    said = bnsweep("launch", sweep_file, "--cluster", head.url)
    assert said.code == 2
    assert "depht" in said.err
    assert head.jobs == {}


def test_a_detached_launch_returns_at_once_and_is_not_started_twice(
    head, bnsweep, sweep_file, monkeypatch
):
    monkeypatch.setattr(jobs, "_entrypoint", lambda *_: "sleep 60")
    arguments = ("launch", sweep_file, "--set", "depth=14", "--detach", "--cluster", head.url)
    first, again = bnsweep(*arguments), bnsweep(*arguments)
    assert (first.code, again.code) == (0, 0)
    assert "is submitted" in first.err
    assert "is running already" in again.err
    assert f"bnsweep status --cluster {head.url} tiny" in first.err
    assert travelled(head) == ["launch tiny.yaml --set depth=14"]


@pytest.mark.parametrize(
    ("given", "there"),
    [
        (("-d",), ""),
        (("-dy", "-q"), "--yes --quiet"),
        (("--set=depth=14", "--set", "width=2", "-d"), "--set depth=14 --set width=2"),
        (("--detach", "--no-retry-failed", "--store", "/d"), "--no-retry-failed --store /d"),
        (
            ("-d", "--image-has-code", "--max-memory", "1.5", "--data", "d"),
            "--max-memory 1.5 --data d",
        ),
    ],
)
def test_what_travels_is_what_was_given_without_the_options_that_are_ours(
    head, bnsweep, sweep_file, monkeypatch, given, there
):
    monkeypatch.setattr(jobs, "_entrypoint", lambda *_: "sleep 60")
    assert bnsweep("launch", *given, sweep_file, "--cluster", head.url).code == 0
    assert sorted(travelled(head)[0].split()) == sorted(f"launch tiny.yaml {there}".split())


def test_a_short_verb_travels_with_its_options(head, bnsweep, launched, monkeypatch):
    monkeypatch.setenv("BNSWEEP_CLUSTER", head.url)
    trial_id = launched.newest_launch("depth").specs[2].trial_id
    assert bnsweep("stop", "depth", "--now", "--trial", trial_id).code == 0
    assert launched.stop_for("depth", 1) is None
    assert launched.stop_for("depth", 1, trial_id).mode == "now"
    assert launched.stop_for("depth", 1, trial_id).trials == (trial_id,)


def test_resume_on_the_cluster_is_a_job_under_the_sweeps_name(head, bnsweep, monkeypatch):
    monkeypatch.setattr(jobs, "_entrypoint", lambda *_: "sleep 60")
    bnsweep("resume", "tiny", "--detach", "--cluster", head.url)
    assert list(head.jobs) == ["tiny-resume-1"]
    assert travelled(head) == ["resume tiny"]


def test_the_report_is_brought_home(head, bnsweep, launched, tmp_path):
    said = bnsweep("report", "depth", "--out", tmp_path / "mine", "--cluster", head.url)
    assert said.code == 0, said.err
    assert (tmp_path / "mine" / "index.html").read_text().startswith("<!")
    assert str(tmp_path / "mine") in said.err


def test_a_brought_file_cannot_leave_its_folder(tmp_path):
    with pytest.raises(UnreachableError, match="leads out"):
        on_cluster._save({"r/../../evil": b""}, "r", tmp_path / "mine")
    assert not (tmp_path / "evil").exists()
