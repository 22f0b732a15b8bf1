"""A head that serves what Ray's client asks of a job service, and runs the jobs right here.

Small and real: HTTP on loopback, jobs as processes in an unpacked package, their output in a log.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

SWEEP = """\
name: tiny
recipe: digits
axes: {depth: [14, 20]}
seeds: 1
"""


class FakeHead:
    """Jobs by submission id, packages by name; `token` is asked of every request where set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = ""
        self.packages: dict[str, bytes] = {}
        self.uploads = 0
        self.authorizations: list[str] = []
        """The header of each request."""
        self.bare_image = False
        """Jobs without a package find no bnsweep, whatever is installed here."""
        self.jobs: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.url = ""

    def status(self, name: str) -> str:
        process = self.processes.get(name)
        if process is None:
            return str(self.jobs[name]["status"])
        code = process.poll()
        return "RUNNING" if code is None else "SUCCEEDED" if code == 0 else "FAILED"

    def told(self, name: str) -> dict[str, Any]:
        return {**self.jobs[name], "status": self.status(name)}

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def submit(self, asked: dict[str, Any]) -> None:
        name = asked["submission_id"]
        if name in self.jobs:
            raise ValueError(f"Job with submission_id {name} already exists.")
        self.jobs[name] = {**asked, "type": "SUBMISSION", "message": ""}
        place = self.folder / f"{name}.dir"
        place.mkdir()
        package = asked["runtime_env"].get("working_dir", "").removeprefix("gcs://")
        if package:
            zipfile.ZipFile(io.BytesIO(self.packages[package])).extractall(place)
        elif self.bare_image:  # a Python that finds only its own library
            (place / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
            (place / "python").chmod(0o755)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                # Its parent is a process that has not loaded Ray, as this one may have.
                ["sh", "-c", 'sh -c "$1"; exit $?', "sh", asked["entrypoint"]],
                cwd=place,
                env={
                    "PATH": f"{place}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                    "BNSWEEP_STORE": str(self.folder / "runs"),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


class _Handler(BaseHTTPRequestHandler):
    head: FakeHead

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests' output stays readable."""

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        match parts:
            case ["api", "version"]:
                self._send({"ray_version": "2.60.0"})
            case ["api", "jobs"]:
                self._send([self.head.told(name) for name in self.head.jobs])
            case ["api", "jobs", name, "logs"]:
                self._send({"logs": self.head.log(name)})
            case ["api", "jobs", name] if name in self.head.jobs:
                self._send(self.head.told(name))
            case ["api", "packages", "gcs", name] if name in self.head.packages:
                self._send({})
            case _:
                self._send({}, 404)

    def do_PUT(self) -> None:
        self.head.packages[self.path.rpartition("/")[2]] = self._body()
        self.head.uploads += 1
        self._send({})

    def do_POST(self) -> None:
        if self.path.endswith("/stop"):
            os.killpg(self.head.processes[self.path.split("/")[-2]].pid, signal.SIGTERM)
            return self._send({"stopped": True})
        try:
            asked = json.loads(self._body())
            self.head.submit(asked)
        except ValueError as error:
            return self._send(f"Traceback …\nValueError: {error}", 500)
        self._send({"job_id": asked["submission_id"], "submission_id": asked["submission_id"]})

    def do_DELETE(self) -> None:
        name = self.path.rpartition("/")[2]
        self.head.processes.pop(name)
        self._send({"deleted": self.head.jobs.pop(name) is not None})

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _send(self, answer: Any, code: int = 200) -> None:
        given = self.headers.get("Authorization", "")
        self.head.authorizations.append(given)
        if self.head.token and given != f"Bearer {self.head.token}":
            code, answer = (403 if given else 401), "Forbidden"
        content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(folder: Path) -> Iterator[FakeHead]:
    head = FakeHead(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"head": head}))
    head.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield head
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for process in head.processes.values():
            with suppress(ProcessLookupError):  # all of the job has ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
