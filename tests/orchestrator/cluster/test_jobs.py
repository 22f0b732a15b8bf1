"""Jobs, against a head that is small but real HTTP; Ray's own is in tests/cluster."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
import zipfile

import fake_head
import pytest
from fake_head import SWEEP, serving
from made_code import written

from orchestrator.cluster import jobs, ray_jobs
from orchestrator.cluster.ray_jobs import Head
from orchestrator.cluster.relay import Receiver
from orchestrator.errors import UnreachableError, UserError
from orchestrator.launching import ray_environment, source_code
from orchestrator.sweep.sweep_spec import load


@pytest.fixture
def head(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_POLL_S", 0.05)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with serving(tmp_path) as head:
        yield head


@pytest.fixture
def sweep_file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SWEEP)
    return path


class Heard:
    """What a job wrote to its two streams."""

    def __init__(self):
        self.out = self.err = ""

    def __call__(self, stream, text):
        setattr(self, stream, getattr(self, stream) + text)


def relayed(head, *arguments, **options):
    heard = Heard()
    return jobs.relay(head.url, arguments, heard, **options), heard


# -- names -----------------------------------------------------------------------------------------


def test_the_name_of_a_job_tells_the_sweep_and_its_resolved_trials(sweep_file):
    key = jobs.submission_key(load(sweep_file))
    assert key.startswith("tiny-")
    assert key == jobs.submission_key(load(sweep_file))
    assert key != jobs.submission_key(load(sweep_file, ["depth=14"]))


def test_a_sweep_that_is_running_is_not_submitted_again(head, sweep_file, monkeypatch):
    monkeypatch.setattr(jobs, "_entrypoint", lambda *_: "sleep 60")
    sweep = load(sweep_file)
    first = jobs.submit(head.url, sweep, sweep_file)
    again = jobs.submit(head.url, sweep, sweep_file)
    assert not first.already_running
    assert again == jobs.Submitted(first.submission_id, already_running=True)
    assert list(head.jobs) == [f"{jobs.submission_key(sweep)}-1"]


def test_a_sweep_that_has_ended_is_submitted_under_the_next_number(head, sweep_file, monkeypatch):
    monkeypatch.setattr(jobs, "_entrypoint", lambda *_: "true")
    sweep = load(sweep_file)
    for _ in range(2):
        submitted = jobs.submit(head.url, sweep, sweep_file)
        head.processes[submitted.submission_id].wait()
    assert [name[-2:] for name in head.jobs] == ["-1", "-2"]


def test_a_number_that_another_laptop_took_at_the_same_moment_leads_to_its_job(
    head, sweep_file, monkeypatch
):
    monkeypatch.setattr(jobs, "_entrypoint", lambda *_: "sleep 60")
    sweep = load(sweep_file)
    other = jobs.submit(head.url, sweep, sweep_file)
    monkeypatch.setattr(Head, "jobs", _empty_once(Head.jobs))
    mine = jobs.submit(head.url, sweep, sweep_file)
    assert mine == jobs.Submitted(other.submission_id, already_running=True)


def _empty_once(real):
    """The first look comes before the other's job is there."""
    seen = []

    def jobs_of(self):
        seen.append(1)
        return [] if len(seen) == 1 else real(self)

    return jobs_of


# -- what travels ----------------------------------------------------------------------------------


def test_the_same_code_is_sent_to_a_head_once(head):
    relayed(head, "schema")
    relayed(head, "schema")
    assert head.uploads == 1


def test_the_parcel_holds_both_packages_the_sweep_file_and_no_leftovers(sweep_file):
    sent = {sweep_file.name: sweep_file.read_bytes()}
    names = zipfile.ZipFile(io.BytesIO(jobs.packed(sent))).namelist()
    assert {"tiny.yaml", "orchestrator/cluster/jobs.py", "trainer/spec.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]
    assert jobs.packed(sent) == jobs.packed(sent) != jobs.packed()
    assert jobs.packed(code=False) is None


def test_no_secret_of_the_laptop_is_in_what_a_job_tells_of_itself(head, sweep_file, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2-tracker")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "hunter2-ray")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2-uri@mlflow")
    jobs.submit(head.url, load(sweep_file), sweep_file)
    assert "hunter2" not in json.dumps(head.jobs)


# -- output and exit codes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["schema"], ["no-such-verb"], ["show", "no-such-trial"], ["status", "--json"]]
)
def test_a_relayed_command_has_the_output_and_exit_code_that_it_has_here(
    head, tmp_path, monkeypatch, arguments
):
    monkeypatch.setenv("BNSWEEP_STORE", str(tmp_path / "runs"))
    here = subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments], capture_output=True, text=True
    )
    there, heard = relayed(head, *arguments)
    assert (there.exit_code, heard.out, heard.err) == (here.returncode, here.stdout, here.stderr)
    assert head.jobs == {}  # a short job leaves no line in the head's list


def test_files_that_a_relayed_command_leaves_behind_are_brought(head):
    there, _ = relayed(head, "schema", bring=["trainer/spec.py", "never-written"])
    assert list(there.files) == ["trainer/spec.py"]
    assert there.files["trainer/spec.py"].startswith(b'"""')


def test_a_launch_with_its_sweep_file_finds_it_under_its_own_name(head, sweep_file):
    sweep = load(sweep_file)
    submitted = jobs.submit(head.url, sweep, sweep_file, ["--no-such-option"])
    heard = Heard()
    assert jobs.follow(head.url, submitted.submission_id, heard) == 2
    assert "bnsweep" in heard.err
    assert (head.folder / f"{submitted.submission_id}.dir" / "tiny.yaml").read_text() == SWEEP
    assert "launch tiny.yaml" in head.jobs[submitted.submission_id]["entrypoint"]


def test_an_image_without_bnsweep_is_said_in_one_line(head):
    head.bare_image = True
    with pytest.raises(UnreachableError, match=r"could not begin there: .*orchestrator"):
        relayed(head, "status", image_has_code=True)


def test_an_image_with_other_code_is_refused_before_anything_runs(head, monkeypatch):
    monkeypatch.setattr(source_code, "code_digest", lambda: "0123456789ab")
    there, heard = relayed(head, "status")
    assert there.exit_code == 2
    assert heard.out == ""
    assert heard.err.count("\n") == 1
    assert "yours 0123456789ab" in heard.err


def test_a_driver_that_is_killed_in_the_middle_is_an_incomplete_launch(
    head, sweep_file, monkeypatch
):
    monkeypatch.setattr(jobs, "_entrypoint", lambda *_: "echo 'out| one line'; kill -9 $$")
    submitted = jobs.submit(head.url, load(sweep_file), sweep_file)
    heard = Heard()
    with pytest.raises(jobs.JobLostError, match="resume") as lost:
        jobs.follow(head.url, submitted.submission_id, heard)
    assert lost.value.exit_code == 4
    assert heard.out == "one line\n"


def test_streams_are_told_apart_and_each_line_comes_once_however_often_the_log_is_read():
    heard = Heard()
    receiver = Receiver(heard)
    log = "starting\nout| a\nerr| b\nout> no end\nout| \nerr| | c\nend| 4\n"
    for end in range(len(log) + 1):
        receiver.feed(log[:end])
    assert (heard.out, heard.err) == ("a\nno end\n", "b\n| c\n")
    assert receiver.exit_code == 4
    assert receiver.foreign == ["starting"]


# -- heads that do not answer ----------------------------------------------------------------------


def test_an_unreachable_head_is_one_line_and_exit_code_3(head):
    with pytest.raises(UnreachableError) as error:
        Head("http://127.0.0.1:1").jobs()
    assert error.value.exit_code == 3
    assert len(error.value.lines) == 1
    assert "cannot be reached (" in error.value.lines[0]


def test_a_head_that_wants_a_token_says_which_variable(head, monkeypatch):
    head.token = "secret"
    with pytest.raises(UnreachableError, match="set RAY_AUTH_TOKEN"):
        Head(head.url).jobs()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(UnreachableError, match="refuses the token"):
        Head(head.url).jobs()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert Head(head.url).jobs() == []


def test_the_token_is_taken_from_rays_own_file_too(head, tmp_path):
    head.token = "secret"
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret\n")
    assert Head(head.url).jobs() == []


def test_the_token_of_a_ray_on_this_machine_is_sent_to_no_cluster(head, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    ray_environment.prepare()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert Head(head.url).jobs() == []
    assert set(head.authorizations) == {""}
    monkeypatch.delenv("RAY_AUTH_TOKEN")


def test_a_ray_on_this_machine_keeps_to_itself_also_after_a_look_at_a_cluster(head):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    command = [sys.executable, "-c", LOOKS_AT_A_CLUSTER, head.url]
    done = subprocess.run(command, capture_output=True, text=True, env=inherited)
    assert (done.returncode, done.stdout) == (0, "True False\n"), done.stderr


LOOKS_AT_A_CLUSTER = """
import sys
from orchestrator.cluster.ray_jobs import Head
Head(sys.argv[1]).jobs()
from ray._private import ray_constants
from ray._private.authentication.authentication_utils import is_token_auth_enabled
print(is_token_auth_enabled(), ray_constants.ENABLE_RAY_CLUSTER)
"""


def test_a_service_without_rays_paths_is_said_to_be_none(head):
    with pytest.raises(UnreachableError, match="404"):
        Head(head.url + "/somewhere/else").jobs()


@pytest.mark.parametrize("answer", [{"ray_version": "2.60.0"}, [], "<html>a page</html>"])
def test_a_service_that_answers_otherwise_than_ray_is_said_to_be_none(head, monkeypatch, answer):
    handler = fake_head._Handler
    monkeypatch.setattr(handler, "do_GET", lambda self: self._send(answer))
    with pytest.raises(UnreachableError, match="not a Ray head") as error:
        Head(head.url).jobs()
    assert len(error.value.lines) == 1


def test_a_head_that_takes_the_call_and_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(ray_jobs, "_ANSWER_S", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(UnreachableError, match=r"cannot be reached \(.*timed out") as error,
    ):
        Head(f"http://127.0.0.1:{silent.getsockname()[1]}").jobs()
    assert len(error.value.lines) == 1


def test_the_cluster_that_was_named_is_asked_whatever_address_ray_finds_in_the_environment(
    head, monkeypatch
):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    assert Head(head.url).jobs() == []
    assert os.environ["RAY_ADDRESS"] == "http://127.0.0.1:1"


def test_rays_client_says_nothing_between_the_lines_of_a_relayed_command(head):
    here = [sys.executable, "-c", RELAY, head.url]
    done = subprocess.run(here, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
    assert head.uploads == 1


RELAY = """
import sys
from orchestrator.cluster import jobs
print(jobs.relay(sys.argv[1], ["schema"], lambda *_: None).exit_code)
"""


@pytest.mark.parametrize("url", ["head:8265", "ray://head:10001", "http://", "http://a:pw@head"])
def test_an_address_that_cannot_be_a_heads_is_the_users_mistake(url):
    with pytest.raises(UserError) as error:
        Head(url)
    assert "pw" not in str(error.value)


def test_a_head_that_falls_silent_is_given_up_after_a_while(head, monkeypatch):
    monkeypatch.setattr(jobs, "_LOST_CONTACT_S", 0.3)
    begun = time.monotonic()
    with pytest.raises(UnreachableError):
        jobs.follow("http://127.0.0.1:1", "any", Heard())
    assert time.monotonic() - begun > 0.3


def test_the_users_own_code_travels_with_its_sweep_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = written(tmp_path)
    sweep = load(path)
    sent = jobs.sent_with(path, sweep)
    assert set(sent) == {"mine.yaml", "mine.py"}
    assert sent["mine.py"] == (tmp_path / "mine.py").read_bytes()
    (tmp_path / "deep").mkdir()
    path.rename(tmp_path / "deep" / "mine.yaml")
    with pytest.raises(UserError, match="code: lies outside of the file's folder"):
        jobs.sent_with(tmp_path / "deep" / "mine.yaml", sweep)
