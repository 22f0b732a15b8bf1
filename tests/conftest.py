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
    "cluster": "processes",
    "contracts": "processes",
    "docker": "processes",
    "faults": "processes",
    "integration": "processes",
    "orchestrator/cli/test_cli_launch": "processes",
    "orchestrator/cli/test_cli_terminal": "processes",
    "orchestrator/launching": "processes",
    "test_install": "processes",
    "test_security": "processes",
    "trainer/networks": "training",
    "trainer/packs": "training",
    "trainer/test_export": "training",
    "trainer/test_freezing": "training",
    "trainer/test_main": "training",
    "trainer/test_numerics": "training",
    "trainer/test_on_a_pretended_gpu": "training",
    "trainer/test_resume": "training",
    "trainer/test_seeding": "training",
    "trainer/test_train": "training",
    "trainer/test_trials_on_a_pretended_gpu": "training",
}
"""By the beginning of a test's path; every other test is a `unit` test, as `make quick` runs them.
`processes`: starts Ray, servers, workers, hosts. `training`: trains or builds many networks."""


def pytest_collection_modifyitems(items):
    """Mark each test by its folder or file."""
    for item in items:
        place = item.path.relative_to(TESTS).as_posix()
        marks = (mark for beginning, mark in MARKS.items() if place.startswith(beginning))
        item.add_marker(next(marks, "unit"))


@pytest.fixture(autouse=True)
def _debug_is_one_tests_own():
    """`--debug` is kept in the environment: for its own process, not for the next test."""
    os.environ.pop("BNSWEEP_DEBUG", None)
    yield
    os.environ.pop("BNSWEEP_DEBUG", None)


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
