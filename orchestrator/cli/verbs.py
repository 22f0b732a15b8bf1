"""The verbs by name, and how a person types them here: through `./bnsweep`, say."""

from __future__ import annotations

import os
import re

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
    "ui": "Open the MLflow UI over the store, or the configured server.",
    "report": "Draw figures and tables, the paper's numbers beside them.",
    "compare": "Set two sweeps side by side, paired by seed.",
    "export": "Write a trial's whole network for plain PyTorch.",
    "push": "Send finished trials to a folder, a host or a bucket.",
    "pull": "Fetch finished trials that were pushed there.",
    "doctor": "Check what would stop a launch here.",
    "gc": "Find what no sweep needs any more, and remove it on request.",
    "help": "Show how scripts drive bnsweep (agents), or a verb's help.",
}
"""Each verb and its line in the help; `commands/<verb>.py` has the rest."""

_COMMAND = re.compile(rf"(?<![\w./-])bnsweep (?=(?:{'|'.join(VERBS)})\b)")


def as_called(text: str) -> str:
    """The text with its commands as this caller types them (`BNSWEEP_CALLED`, which the script of
    a checkout sets), so that they can be copied."""
    called = os.environ.get("BNSWEEP_CALLED")
    return _COMMAND.sub(lambda _: f"{called} ", text) if called else text
