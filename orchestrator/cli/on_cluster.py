"""`--cluster`: the same verbs, as jobs on a Ray cluster, with the same output and exit codes.

The options are added to a verb here, so that the verbs themselves know nothing of clusters. A
command line is understood at home first: a mistake in it, or in the sweep file, never travels.
"""

from __future__ import annotations

import sys
from collections.abc import Container
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main

from orchestrator.cli import screen
from orchestrator.cli.verbs import ON_CLUSTER, as_called
from orchestrator.errors import UnreachableError, UserError
from orchestrator.printable import printable
from orchestrator.settings import NOTIFY

LONG = ("launch", "resume")
_AT_HOME = ("cluster", "detach", "image_has_code")
"""Parameters that do not travel."""


def offer(verb: str, command: Any) -> Any:
    """The verb's command with `--cluster` beside its own options, where it can work there."""
    if verb not in ON_CLUSTER:
        return command
    invoke_here = command.invoke
    added = _options(verb)
    command.params += added

    def invoke(context: typer.Context) -> Any:
        chosen = {p.name: context.params[p.name] for p in command.params}
        if chosen["cluster"]:
            run_there = _run_long if verb in LONG else _run_short
            return run_there(verb, command, context, chosen)
        for parameter in added:
            del context.params[parameter.name]
        return invoke_here(context)

    command.invoke = invoke
    return command


def _options(verb: str) -> list[Any]:
    app = typer.Typer(add_completion=False)
    app.command()(_long if verb in LONG else _short)
    return list(typer.main.get_command(app).params)


_Cluster = Annotated[
    str,
    typer.Option(
        "--cluster",
        metavar="URL",
        envvar="BNSWEEP_CLUSTER",
        show_default=False,
        help="Run on this Ray cluster: http://HEAD:8265.",
    ),
]


def _short(cluster: _Cluster = "") -> None: ...


def _long(
    cluster: _Cluster = "",
    image_has_code: Annotated[
        bool, typer.Option("--image-has-code", help="Use the cluster's bnsweep, send no code.")
    ] = False,
) -> None: ...


def _as_arguments(command: Any, context: typer.Context, leave_out: Container[str]) -> list[str]:
    """What was given on the command line, as arguments again, less the parameters `leave_out`."""
    words: list[str] = []
    for parameter in command.params:
        source = context.get_parameter_source(parameter.name)
        if parameter.name in leave_out or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[parameter.name]
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if parameter.param_type_name == "argument":
                words.append(str(each))
            elif isinstance(each, bool):
                words.append((parameter.opts if each else parameter.secondary_opts)[-1])
            else:
                words += [parameter.opts[-1], str(each)]
    return words


def _run_short(verb: str, command: Any, context: typer.Context, chosen: dict[str, Any]) -> int:
    from orchestrator.cluster import jobs  # only whoever has a cluster needs it

    folders: list[str] = []
    arguments = [verb, *_as_arguments(command, context, (*_AT_HOME, "out"))]
    if verb == "report":
        # Written where the job runs, and brought from there.
        folders = [f"{chosen['name']}-report"]
        arguments += ["--out", folders[0]]
    try:
        relayed = jobs.relay(chosen["cluster"], arguments, _write, folders)
    except KeyboardInterrupt:  # how one leaves `logs -f`
        return 0
    if folders and relayed.files:
        _save(relayed.files, folders[0], Path(chosen["out"] or folders[0]))
    return relayed.exit_code


def _save(files: dict[str, bytes], folder: str, target: Path) -> None:
    """Write what was brought from `folder` there into `target` here, and nowhere else."""
    for name, content in files.items():
        path = (target / Path(name).relative_to(folder)).resolve()
        if target.resolve() not in path.parents:
            raise UnreachableError(f"the cluster sent a file that leads out of {target}: {name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    screen.say(f"brought to {target.resolve()}")


def _run_long(verb: str, command: Any, context: typer.Context, chosen: dict[str, Any]) -> int:
    from orchestrator.cluster import jobs  # only whoever has a cluster needs jobs
    from orchestrator.sweep import sweep_spec

    cluster, image_has_code = chosen["cluster"], chosen["image_has_code"]
    if chosen["notify"]:
        raise UserError(
            "--notify: stays at home, since anybody on the cluster can read a job's options; "
            f"set {NOTIFY} in the cluster's environment"
        )
    options = _as_arguments(command, context, (*_AT_HOME, "sweep_file", "name"))
    if verb == "launch":
        path = Path(chosen["sweep_file"])
        sweep = sweep_spec.load(path, chosen["overrides"], data=chosen["data_folder"])
        if not chosen["yes"]:  # how long it takes is known there only, in the cluster's store
            screen.confirm(f"submit {len(sweep.trials)} trials, of unknown length, to {cluster}?")
        name = sweep.name
        job = jobs.submit(cluster, sweep, path, options, image_has_code=image_has_code)
    else:
        name = chosen["name"]
        job = jobs.resume(cluster, name, options, image_has_code=image_has_code)
    state = "is running already" if job.already_running else "is submitted"
    screen.say(f"job {job.submission_id}: {state}")
    watch = f"bnsweep status {name}"
    if chosen["detach"]:
        screen.say(f"next: {watch}")
        return 0
    try:
        return jobs.follow(cluster, job.submission_id, _write)
    except KeyboardInterrupt:
        screen.say(f"the job goes on; watch it: {watch}; end it: bnsweep stop {name}")
        return 4


def _write(stream: str, text: str) -> None:
    target = sys.stdout if stream == "out" else sys.stderr
    shown = text if stream == "out" else as_called(text, ["--cluster"])  # there it was not given
    target.write(printable(shown, colours=True))
    target.flush()
