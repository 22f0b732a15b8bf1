"""What Ray reads from the environment, checked and set before it is imported; no ray here."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

OWN = "bnsweep-local-"
"""How a token begins that was drawn here, for a Ray of our own: no cluster shall see it."""

_ANSWER_S = 5.0
_LONGEST = 24
"""Characters of a folder for temporary files below which Ray's sockets have room in their 107."""
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


def prepare() -> None:
    """Keep a Ray of our own to this machine and to this user; a cluster's settings stay its own.

    By default Ray listens on every interface and runs what anybody sends it. This variable, made
    for other systems, has it listen on loopback; the token keeps out other users of the machine.
    """
    # A thread that is left behind by a Ray that has ended shall not start another.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    if os.environ.get("RAY_ADDRESS"):
        return
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    # What is left of a Ray that was killed would end this whole process after a minute.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "86400")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", OWN + secrets.token_hex(32))


def problem() -> str:
    """Why RAY_ADDRESS cannot be used, in a line; empty where it may be, or is not set.

    Takes a few seconds at most: Ray itself would look for minutes.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if address in ("", "auto", "local"):
        return ""
    if address.startswith(("http://", "https://")):
        return (
            f"RAY_ADDRESS: {address!r} is where a cluster takes jobs; unset RAY_ADDRESS and give "
            f"it as --cluster {address}"
        )
    try:
        parts = urlsplit(address if "://" in address else f"ray://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme != "ray":
        return f"RAY_ADDRESS: {address!r} is neither HOST:PORT nor ray://HOST:PORT"
    try:
        socket.create_connection((host, port), _ANSWER_S).close()
    except OSError as error:
        return (
            f"RAY_ADDRESS: nothing answers at {address} ({error.strerror or error}); start the "
            "cluster, or unset RAY_ADDRESS to train on this machine"
        )
    return ""


@contextmanager
def own_folder() -> Iterator[str]:
    """A folder for the sockets and logs of a Ray of our own, gone afterwards.

    Nobody else can enter it: in Ray's own, every user of the machine may write. Its path is
    short, whatever TMPDIR says, since a socket's may have 107 characters. BNSWEEP_RAY_TEMP names
    another, which stays.
    """
    if chosen := os.environ.get("BNSWEEP_RAY_TEMP"):
        yield chosen
        return
    private = tempfile.mkdtemp(prefix="bnsweep-", dir=_short_folder())
    try:
        # Ray makes its folder everybody's, whoever has made it: so it gets one inside.
        yield str(Path(private) / "ray")
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _short_folder() -> str:
    candidates = (tempfile.gettempdir(), *_SHORT_FOLDERS)
    usable = (f for f in candidates if len(f) <= _LONGEST and os.access(f, os.W_OK | os.X_OK))
    return next(usable, candidates[0])
