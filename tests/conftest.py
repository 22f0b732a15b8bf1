"""What is dear to start is started once for the session: an MLflow database, an MLflow server."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.settings import Settings
from orchestrator.tracking import ui

ROOT = Path(__file__).parents[1]
TESTS = Path(__file__).parent

MARKS = {
    "processes": (
        "cluster",
        "contracts",
        "docker",
        "faults",
        "integration",
        "orchestrator/cli/test_cli_launch",
        "orchestrator/cli/test_cli_streams",
        "orchestrator/cli/test_cli_terminal",
        "orchestrator/cli/test_cli_ui",
        "orchestrator/cluster",
        "orchestrator/launching",
        "orchestrator/store/test_remote",
        "orchestrator/test_doctor",
        "test_examples",
        "test_install",
        "test_security",
        "trainer/data/test_decoders",
        "trainer/ranks",
        "trainer/test_killed_within_epochs",
    ),
    "long": (
        "orchestrator/cli/test_on_cluster",
        "orchestrator/cli/test_cli_own_code",
        "orchestrator/cli/test_cli_transfers",
        "orchestrator/planning/test_costs",
        "orchestrator/planning/test_memory",
        "orchestrator/reporting/test_error_rates",
        "orchestrator/reporting/test_figures",
        "orchestrator/reporting/test_report",
        "orchestrator/reporting/test_to_mlflow",
        "orchestrator/sweep/test_code_in_sweeps",
        "orchestrator/sweep/test_shipped_sweeps",
        "orchestrator/sweep/test_sweep_fuzz",
        "orchestrator/test_library_networks",
        "orchestrator/test_new_entries",
        "test_readme",
        "trainer/kernels/test_build",
        "trainer/kernels/test_triton_norm",
        "trainer/networks",
        "trainer/packs",
        "trainer/test_against_plain_torch",
        "trainer/test_export",
        "trainer/test_freezing",
        "trainer/test_main",
        "trainer/test_numerics",
        "trainer/test_on_a_pretended_gpu",
        "trainer/test_own_code",
        "trainer/test_resume",
        "trainer/test_seeding",
        "trainer/test_train",
        "trainer/test_trials_on_a_pretended_gpu",
    ),
}
"""By the beginning of a test's path. `processes`: starts Ray, servers, workers or hosts. `long`:
trains, draws or builds for seconds. All others are `unit` tests, which `make quick` runs."""


def mark_of(path):
    """Of a test's file or folder."""
    place = path.relative_to(TESTS).as_posix()
    marks = (mark for mark, beginnings in MARKS.items() if place.startswith(beginnings))
    return next(marks, "unit")


def pytest_collection_modifyitems(items):
    """Mark each test by its folder or file."""
    for item in items:
        item.add_marker(mark_of(item.path))


def pytest_ignore_collect(collection_path, config):
    """`-m unit` does not even import what it leaves out: that takes as long as many unit tests."""
    return (config.option.markexpr == "unit" and mark_of(collection_path) != "unit") or None


@pytest.fixture(autouse=True)
def _debug_is_one_tests_own():
    """`--debug` is kept in the environment: for its own process, not for the next test."""
    os.environ.pop("BNSWEEP_DEBUG", None)
    yield
    os.environ.pop("BNSWEEP_DEBUG", None)


@pytest.fixture(autouse=True)
def _nobody_is_told(monkeypatch):
    """Whoever runs the tests may have a webhook of their own."""
    monkeypatch.delenv("BNSWEEP_NOTIFY", raising=False)
    monkeypatch.setenv("BNSWEEP_SETTINGS", os.devnull)


@pytest.fixture
def alone(tmp_path):
    """Runs a program in a Python of its own, with a HOME of its own and none of our Ray settings;
    returns what its last line says in JSON."""

    def alone(program):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            env={**inherited, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return alone


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory):
    """An MLflow database with its tables, to be copied: making them takes seconds."""
    from orchestrator.tracking import mlflow_tracker

    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow_tracker.connect(Settings(folder, folder, uri, True)).check(60.0)
    return folder / "mlflow.db"


@pytest.fixture
def mlflow_settings(empty_mlflow_database, tmp_path):
    """Settings with an embedded tracker of the test's own."""
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    return Settings(tmp_path, tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}", True)


class MlflowServer:
    """A real server process that can be killed, paused and started again over its database."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._served, self._port = settings, None, 0

    @property
    def url(self) -> str:
        return self._served.url

    def start(self) -> None:
        self._served = ui.serve(self._settings, port=self._port)
        self._port = int(self._served.url.rpartition(":")[2])

    def kill(self) -> None:
        os.killpg(self._served.process.pid, signal.SIGKILL)
        self._served.process.wait()

    def pause(self) -> None:
        os.killpg(self._served.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self._served.process.pid, signal.SIGCONT)

    def close(self) -> None:
        self._served.close()


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory, empty_mlflow_database):
    """The session's server: a test that ends it starts it again."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_mlflow_database, folder / "mlflow.db")
    server = MlflowServer(Settings(folder, folder, f"sqlite:///{folder / 'mlflow.db'}", True))
    server.start()
    yield server
    server.close()


@pytest.fixture
def server_settings(mlflow_server, tmp_path):
    """Settings of a client of the session's server."""
    return Settings(tmp_path, tmp_path, mlflow_server.url, False)
