"""What MLflow reads from the environment, for our process and for the server that `ui` starts.

No mlflow here: these must be set before it is imported.
"""

from __future__ import annotations

import os

BOUNDED = {
    # one attempt for each call: the forwarder repeats, and by default a dead server costs minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",  # a slow server is not a dead one
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # its database migrations are no news to the user
}


def prepare() -> None:
    """Set them in this process; what the user has set stays, except for the retries."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.update(BOUNDED)


def for_server() -> dict[str, str]:
    """The environment of an MLflow server process."""
    return {**DEFAULTS, **os.environ}
