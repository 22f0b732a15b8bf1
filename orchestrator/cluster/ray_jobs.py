"""The head of a Ray cluster, through Ray's own client for jobs.

`JobSubmissionClient` does not promise all that we do, and so it gets here

- an end to each request: it sets none, and would wait for ever for a head that was cut off;
- the cluster's token: by itself it sends one only where RAY_AUTH_MODE says so, and then it may be
  that of a Ray of our own;
- the address that was asked for: by itself it prefers that in RAY_ADDRESS.

Importing Ray takes a second: only whoever names a cluster loads this module.
"""

from __future__ import annotations

import logging
import os
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.launching import ray_environment

ray_environment.prepare()  # for a launch in the same process: Ray reads it when it is imported

# ruff: noqa: E402
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from orchestrator.errors import UnreachableError, UserError

_CONNECT_S = 5.0
_ANSWER_S = 30.0
_OTHER_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")

# It tells of each upload on standard error, where a relayed command has its own words.
logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Job:
    """A submitted job, as the head tells of it."""

    submission_id: str
    alive: bool
    """Whether it runs or will run."""
    message: str = ""
    """Ray's own words: why it waits, or why it failed."""


class Head:
    """The job service at `url`, such as http://head:8265. Nothing is sent until asked.

    Every method raises UnreachableError, in one line, where the head does not answer as Ray does.
    """

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UserError(
                # without a user's name and password
                f"--cluster {url.rpartition('@')[2]}: not the address of a Ray head; "
                "such as http://head:8265 (a token belongs into RAY_AUTH_TOKEN)"
            )
        self.url = url.rstrip("/")
        self._client: _Client | None = None

    def jobs(self) -> list[Job]:
        """All submitted jobs that the head remembers."""
        jobs = self._ask(lambda client: client.list_jobs())
        return [_job(details) for details in jobs if details.submission_id]

    def job(self, submission_id: str) -> Job | None:
        """The job; None where the head knows none of that name."""
        details = self._ask(lambda client: client.get_job_info(submission_id), missing_ok=True)
        return _job(details) if details is not None else None

    def submit(
        self,
        submission_id: str,
        entrypoint: str,
        package: bytes | None,
        metadata: dict[str, str],
    ) -> None:
        """Start a job in the unpacked `package`, a zip, which is sent unless the head has it: Ray
        names it by its content. An id that is in use already makes Ray answer with an error."""
        with tempfile.TemporaryDirectory() as folder:
            environment = {}
            if package is not None:
                path = Path(folder, "package.zip")
                path.write_bytes(package)
                environment["working_dir"] = str(path)
            self._ask(
                lambda client: client.submit_job(
                    submission_id=submission_id,
                    entrypoint=entrypoint,
                    runtime_env=environment,
                    metadata=metadata,
                )
            )

    def logs(self, submission_id: str) -> str:
        """Everything that the job has printed so far."""
        return str(self._ask(lambda client: client.get_job_logs(submission_id)) or "")

    def stop(self, submission_id: str) -> None:
        """End the job's process."""
        self._ask(lambda client: client.stop_job(submission_id), missing_ok=True)

    def forget(self, submission_id: str) -> None:
        """Take an ended job off the head's list."""
        self._ask(lambda client: client.delete_job(submission_id), missing_ok=True)

    def _ask(self, question: Callable[[_Client], Any], *, missing_ok: bool = False) -> Any:
        token = _token()
        try:
            if self._client is None:
                self._client = _connect(self.url, token)
            return question(self._client)
        except _FROM_THE_CLIENT as error:
            if missing_ok and isinstance(error, _Refused) and error.status == 404:
                return None
            raise UnreachableError(f"cluster {self.url}: {_problem(error, token)}") from error


class _Refused(Exception):
    """An answer that says no: the HTTP status, and Ray's reason in one line."""

    def __init__(self, status: int, text: str) -> None:
        # Ray answers with a traceback; its last line is the reason.
        reason = (text.strip().splitlines() or ["no reason given"])[-1][:300]
        super().__init__(f"{status}: {reason}")
        self.status = status


_FROM_THE_CLIENT = (
    _Refused,
    AuthenticationError,
    RuntimeError,  # what answers has no job service, or an older one than the client can bear
    OSError,  # nothing answers; all errors of requests are such
    *(ValueError, TypeError, LookupError, AttributeError),  # an answer of another form than Ray's
)


def _problem(error: Exception, token: str) -> str:
    """What is wrong, in one line, behind the cluster's address."""
    match error:
        case _Refused() | RuntimeError():
            return str(error)
        case AuthenticationError() if token:
            return "refuses the token in RAY_AUTH_TOKEN (or ~/.ray)"
        case AuthenticationError():
            return "wants a token; set RAY_AUTH_TOKEN to the cluster's"
        case OSError() if not isinstance(error, ValueError):
            cause = _first_cause(error)
            return f"cannot be reached ({cause}); is the head up, and is this its job port (8265)?"
    return "something answers there, but not a Ray head"


class _Client(JobSubmissionClient):  # type: ignore[misc]  # Ray has no types
    """Ray's client, with an end to each request, and refusals that can be told apart."""

    def _do_request(self, *arguments: Any, **options: Any) -> Any:
        timeout = (_CONNECT_S, _ANSWER_S)
        return super()._do_request(*arguments, timeout=timeout, **options)

    def _raise_error(self, r: Any) -> NoReturn:
        raise _Refused(r.status_code, r.text)


def _connect(url: str, token: str) -> _Client:
    # Without this header, though it be empty, the client would look for a token by itself.
    headers = {"Authorization": f"Bearer {token}" if token else ""}
    with _unset(_OTHER_ADDRESSES):
        return _Client(url, headers=headers)


@contextmanager
def _unset(names: tuple[str, ...]) -> Iterator[None]:
    values = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(values)


def _job(details: Any) -> Job:
    alive = not details.status.is_terminal()
    return Job(details.submission_id, alive, details.message or "")


def _first_cause(error: BaseException) -> str:
    """The system's own words below those of the libraries on the way."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return str(error) or type(error).__name__


def _token() -> str:
    """The cluster's token, from where Ray itself takes it; not that of a Ray of our own."""
    token = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    if token and not token.startswith(ray_environment.OWN):
        return token
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip()
    except OSError:
        return ""
