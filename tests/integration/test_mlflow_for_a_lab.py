"""MLflow as a lab runs it: PostgreSQL behind it, artifacts through the server, a password."""

import os
import subprocess
import sys
import time
import urllib.request

import pytest
from made_trials import a_store, claimed, failed, launched, record, trained, write
from postgres import Postgres, free_port, programs

from orchestrator.errors import UnreachableError
from orchestrator.settings import Settings
from orchestrator.tracking import mlflow_environment, mlflow_tracker
from orchestrator.tracking.audit import audit
from orchestrator.tracking.forwarder import sync
from trainer.spec import TrialSpec

PASSWORD = "a-password-of-the-tests"
SPECS = [TrialSpec(epochs=200, seed=0), TrialSpec(epochs=3, seed=1)]

pytestmark = pytest.mark.skipif(
    programs() is None, reason="PostgreSQL's server is not installed (apt-get install postgresql)"
)


@pytest.fixture(scope="module")
def postgres():
    postgres = Postgres(programs())
    yield postgres
    postgres.close()


@pytest.fixture(scope="module")
def server(postgres, tmp_path_factory):
    """The server's address."""
    pytest.importorskip("flask_wtf", reason="MLflow's login needs Flask-WTF (pip install)")
    folder = tmp_path_factory.mktemp("lab")
    (folder / "auth.ini").write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{folder / 'auth.db'}\n"
        "admin_username = admin\n"
        "auth_cache_ttl_seconds = 60\n"  # else every request pays a slow hash of the password
        f"admin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--workers", "1", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=mlflow_environment.for_server()
            | {
                "MLFLOW_BACKEND_STORE_URI": postgres.uri,
                "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
                "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
                "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-key-of-the-tests",
            },
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process, folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def wait_for(url, process, log):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def tracker(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    return mlflow_tracker.connect(Settings(tmp_path, tmp_path, server, False))


def test_a_sweep_arrives_whole_through_login_server_and_postgresql(tmp_path, tracker, server):
    store = a_store(tmp_path)
    launched(store, SPECS)
    trained(store, SPECS[0])
    claim = claimed(store, SPECS[1])
    write(claim, record(0), record(1, float("inf")), record(2, float("nan")))
    failed(claim, "diverged")
    for _ in range(2):
        assert sync(store, "depth", tracker).empty
    checks = list(audit(store, "depth", tracker))
    assert "metrics" in {check.name for check in checks}
    assert all(check.ok for check in checks), checks
    assert {c.name: c.detail for c in checks}["artifacts"] == "4 files"
    (run,) = tracker.runs(tracker.open("depth"), store.identity, SPECS[0].trial_id)
    kept = tracker._client.get_run(run.run_id).info.artifact_uri
    assert kept.startswith("mlflow-artifacts:")
    assert tracker.experiment_url("depth").startswith(server)


def test_a_wrong_password_is_said_with_the_variables_to_set(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    tracker = mlflow_tracker.connect(Settings(tmp_path, tmp_path, server, False))
    for call in (lambda: tracker.check(10.0), lambda: tracker.open("depth")):
        with pytest.raises(UnreachableError, match="MLFLOW_TRACKING_PASSWORD") as raised:
            call()
        assert "wrong" not in str(raised.value)


def test_postgresql_without_a_server_between_works_too(postgres, tmp_path, monkeypatch):
    uri = postgres.uri
    tracker = mlflow_tracker.connect(Settings(tmp_path, tmp_path, uri, False))
    assert "unseen" not in tracker.address
    store = a_store(tmp_path)
    launched(store, SPECS[1:], "direct")
    trained(store, SPECS[1])
    assert sync(store, "direct", tracker).empty
    checks = list(audit(store, "direct", tracker))
    assert "metrics" in {check.name for check in checks}
    assert all(check.ok for check in checks), checks
    assert not os.path.exists("mlruns")
