"""The head of a Ray cluster, through the few calls of Ray's Jobs REST API that we need.

Plain HTTP from the standard library: a laptop needs no Ray, and no matching version of it, to
work with a cluster.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import UnreachableError, UserError

Status = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Job:
    """A submitted job, as the head tells of it."""

    submission_id: str
    status: Status
    message: str = ""
    """Ray's own words: why it waits, or why it failed."""

    @property
    def alive(self) -> bool:
        """Whether it runs or will run."""
        return self.status in ("PENDING", "RUNNING")


class Head:
    """The job service at `url`, such as http://head:8265. Nothing is sent until asked.

    Every method raises UnreachableError, in one line, where the head does not answer as Ray does.
    """

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UserError(
                f"--cluster {_without_secrets(url)}: not the address of a Ray head; "
                "such as http://head:8265 (a token belongs into RAY_AUTH_TOKEN)"
            )
        self.url = url.rstrip("/")

    def version(self) -> str:
        """Ray's version at the head."""
        return str(self._json("GET", "/api/version").get("ray_version", "unknown"))

    def jobs(self) -> list[Job]:
        """All submitted jobs that the head remembers."""
        found = self._json("GET", "/api/jobs/")
        return [_job(item) for item in found if item.get("submission_id")]

    def job(self, submission_id: str) -> Job | None:
        """The job; None where the head knows none of that name."""
        answer = self._send("GET", f"/api/jobs/{submission_id}", missing_ok=True)
        return None if answer is None else _job(self._decoded(answer))

    def submit(
        self,
        submission_id: str,
        entrypoint: str,
        runtime_env: dict[str, Any],
        metadata: dict[str, str],
    ) -> None:
        """Start a job. An id that is in use already makes Ray answer with an error."""
        body = {
            "submission_id": submission_id,
            "entrypoint": entrypoint,
            "runtime_env": runtime_env,
            "metadata": metadata,
        }
        self._json("POST", "/api/jobs/", json.dumps(body).encode())

    def logs(self, submission_id: str) -> str:
        """Everything that the job has printed so far."""
        found = self._json("GET", f"/api/jobs/{submission_id}/logs")
        return str(found.get("logs") or "")

    def stop(self, submission_id: str) -> None:
        """End the job's process."""
        self._send("POST", f"/api/jobs/{submission_id}/stop", missing_ok=True)

    def forget(self, submission_id: str) -> None:
        """Take an ended job off the head's list."""
        self._send("DELETE", f"/api/jobs/{submission_id}", missing_ok=True)

    def upload(self, name: str, content: bytes) -> str:
        """Store a package at the head unless it is there already; returns its address for Ray."""
        path = f"/api/packages/gcs/{name}"
        if self._send("GET", path, missing_ok=True) is None:
            self._send("PUT", path, content)
        return f"gcs://{name}"

    def _json(self, method: str, path: str, body: bytes | None = None) -> Any:
        answer = self._send(method, path, body)
        return self._decoded(answer or b"")

    def _decoded(self, answer: bytes) -> Any:
        try:
            return json.loads(answer)
        except ValueError as error:
            raise UnreachableError(
                f"cluster {self.url}: something answers there, but not a Ray head"
            ) from error

    def _send(
        self, method: str, path: str, body: bytes | None = None, *, missing_ok: bool = False
    ) -> bytes | None:
        request = urllib.request.Request(self.url + path, data=body, method=method)
        request.add_header("Content-Type", "application/json")
        if token := _token():
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404 and missing_ok:
                    return None
                raise self._refused(error) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise UnreachableError(
                f"cluster {self.url}: cannot be reached ({reason}); is the head up, and is this "
                "its job port (8265)?"
            ) from error

    def _refused(self, error: urllib.error.HTTPError) -> UnreachableError:
        if error.code in (401, 403):
            return UnreachableError(
                f"cluster {self.url}: wants a token; set RAY_AUTH_TOKEN to the cluster's"
                if error.code == 401
                else f"cluster {self.url}: refuses the token in RAY_AUTH_TOKEN (or ~/.ray)"
            )
        lines = error.read().decode(errors="replace").strip().splitlines()
        # Ray answers with a traceback; its last line is the reason.
        reason = lines[-1][:300] if lines else error.reason
        return UnreachableError(f"cluster {self.url}: {error.code}: {reason}")


def _job(item: dict[str, Any]) -> Job:
    return Job(item["submission_id"], item["status"], item.get("message") or "")


def _token() -> str:
    """The cluster's token, from where Ray itself takes it."""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    try:
        return Path(path).expanduser().read_text().strip()
    except OSError:
        return ""


def _without_secrets(url: str) -> str:
    """The address without a user's name and password, fit for a message."""
    return url.rpartition("@")[2]
