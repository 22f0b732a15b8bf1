"""What Ray reads from the environment when it is imported, for a Ray on this machine.

No ray here: these must be set before it is imported.
"""

from __future__ import annotations

import os
import secrets

OWN = "bnsweep-local-"
"""How a token begins that was drawn here, for a Ray of our own: no cluster shall see it."""


def prepare() -> None:
    """Keep a Ray of our own to this machine and to this user; a cluster's settings stay its own.

    By default Ray listens on every interface and runs what anybody sends it. This variable, made
    for other systems, has it listen on loopback; the token keeps out other users of the machine.
    """
    if os.environ.get("RAY_ADDRESS"):
        return
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", OWN + secrets.token_hex(32))
