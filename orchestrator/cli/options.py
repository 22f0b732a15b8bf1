"""Arguments and options that several verbs share, with their completion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import completion

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
    typer.Argument(metavar="NAME", help="The sweep's name.", autocompletion=completion.sweep_names),
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
OnTestImages = Annotated[
    bool,
    typer.Option(
        "--on-test-images",
        help="Let the test images choose, although they flatter what they choose.",
    ),
]

StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="Where results are [BNSWEEP_STORE, or ./runs]."),
]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where data sets are [BNSWEEP_DATA, or ./data]."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, alone on standard output.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]
Inline = Annotated[
    bool, typer.Option("--inline", help="Train in this process, without Ray (for debugging).")
]
Launcher = Annotated[
    str,
    typer.Option(
        "--launcher",
        metavar="NAME",
        show_default=False,
        help="Train through this launcher: ray (the default), inline, or an installed package's.",
    ),
]
Tracker = Annotated[
    str,
    typer.Option(
        "--tracker",
        metavar="NAME",
        show_default=False,
        help="Send metrics to this tracker: mlflow (the default), or an installed package's.",
    ),
]
Detach = Annotated[
    bool,
    typer.Option(
        "-d", "--detach", help="Keep running in the background once the launch has begun."
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only the table at the end.")]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Do not wait for trials that another launch trains.")
]
Wait = Annotated[
    str,
    typer.Option(
        "--wait",
        metavar="TIME",
        show_default=False,
        help="Wait so long (15m, 2h) for a cluster's node with room for a trial: resources.wait.",
    ),
]
OnFinish = Annotated[
    str,
    typer.Option(
        "--on-finish",
        metavar="CMD",
        show_default=False,
        help="Run this shell command once the launch has ended, with BNSWEEP_SWEEP, "
        "BNSWEEP_EXIT_CODE and the counts (BNSWEEP_FINISHED, …) in its environment.",
    ),
]
Notify = Annotated[
    str,
    typer.Option(
        "--notify",
        metavar="URL",
        show_default=False,
        help="Tell this webhook when the launch is done, has failed trials, stalls or stops "
        "[BNSWEEP_NOTIFY, or notify in ~/.config/bnsweep/settings.yaml]; off: nobody.",
    ),
]
MaxGpuHours = Annotated[
    float | None,
    typer.Option(
        "--max-gpu-hours",
        metavar="HOURS",
        help="Refuse a plan that is longer, and where nobody is asked one of unknown length; stop "
        "a launch that takes longer.",
    ),
]
MaxMemory = Annotated[
    float | None,
    typer.Option("--max-memory", metavar="GB", help="Refuse a plan with a larger trial."),
]
