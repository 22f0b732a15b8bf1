"""One migrated MLflow database for the session; tests work on copies (making one takes seconds)."""

import shutil

import pytest

from orchestrator.settings import Settings


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory):
    from orchestrator import tracking_mlflow

    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    tracking_mlflow.connect(Settings(folder, folder, uri, True)).check(60.0)
    return folder / "mlflow.db"


@pytest.fixture
def mlflow_settings(empty_mlflow_database, tmp_path):
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    return Settings(tmp_path, tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}", True)
