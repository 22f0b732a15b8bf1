"""MLFLOW_TRACKING_URI: what can never work is known without asking anybody."""

import pytest

from orchestrator.tracking import mlflow_environment


@pytest.mark.parametrize(
    "uri",
    ["file:///srv/mlruns", "databricks", "databricks://profile", "./mlruns", "uc:x", "http://"],
)
def test_what_can_never_be_sent_to_is_named_with_its_variable(uri):
    problem = mlflow_environment.problem(uri)
    assert problem.startswith("MLFLOW_TRACKING_URI: ")
    assert "is neither a server (http://, https://) nor a database" in problem


@pytest.mark.parametrize("uri", ["127.0.0.1:5000", "localhost:5000", "mlflow.lab.org:80/"])
def test_a_server_without_its_http_is_told_what_was_meant(uri):
    assert mlflow_environment.problem(uri).endswith(f"; did you mean http://{uri}?")


@pytest.mark.parametrize("uri", ["http://host:99999", "http://host:x", "http://[::1"])
def test_an_address_that_is_none_is_said_so(uri):
    assert "is no address" in mlflow_environment.problem(uri)


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:5000", "https://u:p@mlflow.lab.org/x", "sqlite:////a/b.db",
     "sqlite:///runs/mlflow.db", "postgresql+psycopg2://u:p@host/db"],
)  # fmt: skip
def test_what_may_come_back_is_no_problem(uri):
    assert mlflow_environment.problem(uri) == ""


def test_no_password_is_repeated():
    assert "secret" not in mlflow_environment.problem("ftp://user:secret@host/")
    assert "secret" not in mlflow_environment.problem("http://user:secret@host:99999/")
