"""What MLflow reads from the environment, for our process and for the server that `ui` starts.

No mlflow here: these must be set before it is imported.
"""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

_SERVERS = ("http", "https")
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
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


def address_of(uri: str) -> str:
    """The URI for a person: without user name and password."""
    return re.sub(r"//[^/\s]*@", "//", uri)


def is_server(uri: str) -> bool:
    """Whether an MLflow server answers there, rather than a database that this process writes."""
    return urlsplit(uri).scheme in _SERVERS


def problem(uri: str) -> str:
    """Why nothing can ever be sent to this MLFLOW_TRACKING_URI, in a line; empty where it may be,
    whether or not something answers there now."""
    try:
        parts = urlsplit(uri)
        reachable = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        return f"MLFLOW_TRACKING_URI: {address_of(uri)!r} is no address ({error})"
    scheme = parts.scheme.split("+")[0]
    if scheme in _DATABASES or (scheme in _SERVERS and reachable):
        return ""
    line = (
        f"MLFLOW_TRACKING_URI: {address_of(uri)!r} is neither a server (http://, https://) "
        "nor a database (sqlite:///, postgresql://)"
    )
    likely = re.fullmatch(r"[\w.-]+:\d+/?", uri)
    return f"{line}; did you mean http://{uri}?" if likely else line
