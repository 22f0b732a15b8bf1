"""Arguments and options that several verbs share, with their completion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import completion
from orchestrator.cli.verbs import as_called

SweepFile = Annotated[
    Path,
    typer.Argument(
        metavar="SWEEP", help="The sweep file (YAML).", autocompletion=completion.sweep_files
    ),
]
SweepName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The sweep's name, as in its file.",
        autocompletion=completion.sweep_names,
    ),
]
OptionalSweepName = Annotated[
    str,
    typer.Argument(
        metavar="[NAME]", help="The sweep's name.", autocompletion=completion.sweep_names
    ),
]
TrialId = Annotated[
    str,
    typer.Argument(
        metavar="TRIAL",
        help="The trial's id: its beginning or its last part is enough where it is unambiguous.",
        autocompletion=completion.trial_ids,
    ),
]
TrialIds = Annotated[
    list[str],
    typer.Option(
        "--trial",
        metavar="TRIAL",
        help="Only this trial; may be given several times.",
        autocompletion=completion.trial_ids,
    ),
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the sweep file's value; a list is an axis: depth=14,32.",
    ),
]
Store = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="Where results lie [BNSWEEP_STORE, or ./runs]."),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where data sets lie [BNSWEEP_DATA, or ./data]."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, alone on standard output.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]


def examples(*lines: str) -> str:
    """The end of a verb's help: commands to type."""
    return "\n".join(["\b", "Examples:", *(f"  {as_called(line)}" for line in lines)])
