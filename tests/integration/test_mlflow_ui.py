"""The server that `ui` starts over a store."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from orchestrator.errors import UnreachableError, UserError
from orchestrator.settings import Settings
from orchestrator.tracking import ui


def test_a_configured_server_is_only_named(tmp_path):
    served = ui.serve(Settings(tmp_path, tmp_path, "https://mlflow.lab", False))
    assert (served.url, served.process) == ("https://mlflow.lab", None)
    served.wait()
    served.close()


def test_without_a_store_there_is_nothing_to_look_at(tmp_path):
    settings = Settings(tmp_path / "none", tmp_path, f"sqlite:///{tmp_path / 'none/m.db'}", True)
    with pytest.raises(UserError, match="does not exist; launch a sweep first"):
        ui.serve(settings)
    assert not (tmp_path / "none").exists()


def test_it_listens_on_loopback_only_answers_and_leaves_nothing_running(mlflow_settings):
    served = ui.serve(mlflow_settings)
    group = served.process.pid
    with urllib.request.urlopen(f"{served.url}/", timeout=10) as page:
        assert b"<html" in page.read()
    arguments = [path.read_text() for path in processes_of(group)]
    assert len(arguments) > 1
    assert "sqlite" not in "".join(arguments)  # an address may hold a password; these are public
    assert listening(int(served.url.rpartition(":")[2])) == {"0100007F"}
    served.close()
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def test_a_killed_process_takes_its_server_with_it(mlflow_settings):
    code = (
        "import sys, pathlib; from orchestrator import settings; "
        "from orchestrator.tracking import ui; "
        f"store = pathlib.Path({str(mlflow_settings.store)!r}); "
        "print(ui.serve(settings.load(store)).process.pid, flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        group = int(owner.stdout.readline())
        owner.kill()
    deadline = time.monotonic() + 60
    while processes_of(group):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def processes_of(group):
    """The command line file of each process of the group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(path.parent.name)) == group:
                found.append(path)
    return found


def listening(port):
    """Local addresses (hexadecimal) that listen on the port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    local = [row[1].split(":") for row in rows if row[3] == "0A"]
    return {address for address, number in local if int(number, 16) == port}


def test_a_server_that_cannot_start_says_why(mlflow_settings):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UnreachableError, match="did not start"):
            ui.serve(mlflow_settings, port=taken.getsockname()[1])
