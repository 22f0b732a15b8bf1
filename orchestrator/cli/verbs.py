"""The verbs by name, and how a person types them here: through `./bnsweep`, say."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from itertools import zip_longest

VERBS = {
    "init": "Write a commented sweep file to start from.",
    "schema": "Print the JSON schema of sweep files, for an editor.",
    "plan": "Show what launch would do: each trial, its state and its costs.",
    "prepare": "Make the folders of images that a sweep needs ready for training.",
    "launch": "Run what of a sweep is missing or unfinished.",
    "resume": "Go on with a sweep's newest launch, as it was stored.",
    "status": "Show all sweeps, or the trials of one.",
    "show": "Show everything about a trial, and why it will or will not run.",
    "logs": "Show a trial's log, the failing attempt's traceback first.",
    "stop": "Stop a launch: after its running trials, or after their step.",
    "discard": "Set a trial's results aside, so that it runs again.",
    "sync": "Send the tracker what it lacks.",
    "audit": "Prove that the tracker has each trial once, and each point.",
    "verify": "Train some finished trials again, and compare every number.",
    "ui": "Open the MLflow UI over the store, or the configured server.",
    "report": "Draw figures and tables, the paper's numbers beside them.",
    "compare": "Set two sweeps side by side, paired by seed.",
    "best": "Show the best configurations by validation; write their sweep.",
    "export": "Write a trial's whole network for plain PyTorch.",
    "push": "Send finished trials to a folder, a host or a bucket.",
    "pull": "Fetch finished trials that were pushed there.",
    "doctor": "Check what would stop a launch here.",
    "gc": "Find what no sweep needs any more, and remove it on request.",
    "help": "Show how scripts drive bnsweep (agents), or a verb's help.",
}
"""Each verb and its line in the help; `commands/<verb>.py` has the rest."""

ON_CLUSTER = {"launch", "resume", "status", "show", "logs", "stop", "discard", "sync", "audit"}
ON_CLUSTER |= {"report", "doctor", "gc"}
REPEATED = {
    "--cluster": ON_CLUSTER,
    "--store": set(VERBS) - {"init", "schema", "prepare", "help"},
    "--data": {"plan", "prepare", "launch", "resume", "doctor", "verify"},
}
"""Options that say where a command works, and the verbs that have them: what to type next works
only with the same ones."""

_COMMAND = re.compile(rf"(?<![\w./-])bnsweep ({'|'.join(VERBS)})\b")
_given: dict[str, str] = {}
"""Of these options those of this command line."""


def remember(arguments: Sequence[str]) -> None:
    """Note which of the options the command line has, for the commands that will be shown."""
    _given.clear()
    for word, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        option, equals, value = word.partition("=")
        if option in REPEATED and (equals or following):
            _given[option] = value if equals else following


def as_called(text: str, options: Iterable[str] = REPEATED) -> str:
    """The text with its commands as this caller types them (`BNSWEEP_CALLED`, which the script of
    a checkout sets) and with those of `options` that this command line has, so that they can be
    copied."""
    called = os.environ.get("BNSWEEP_CALLED") or "bnsweep"

    def whole(command: re.Match[str]) -> str:
        verb = command[1]
        given = [o for o in options if o in _given and verb in REPEATED[o]]
        return " ".join([called, verb, *(f"{o} {shlex.quote(_given[o])}" for o in given)])

    return _COMMAND.sub(whole, text)
