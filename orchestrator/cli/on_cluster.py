"""`--cluster`: the same verbs, on a Ray cluster (jobs.py), with the same output and exit codes.

The options are added to a verb here, so that the verbs themselves know nothing of clusters. A
command line is understood at home first: a mistake in it, or in the sweep file, never travels.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main

from orchestrator.cli import screen
from orchestrator.errors import UnreachableError

LONG = ("launch", "resume")
SHORT = ("status", "show", "logs", "stop", "discard", "sync", "audit", "report", "doctor", "gc")
_VALUED, _FLAGS = ("--cluster",), ("-d", "--detach", "--image-has-code")
"""Our own options, which do not travel."""


def offer(verb: str, command: Any, arguments: Sequence[str]) -> Any:
    """The verb's command with `--cluster` beside its own options, where it can work there.

    `arguments`: what stands behind the verb.
    """
    if verb not in LONG + SHORT:
        return command
    run_here: Callable[..., Any] = command.callback
    names = {parameter.name for parameter in command.params}
    ours = [p for p in _options(verb) if p.name not in names]
    command.params += ours

    def run(**given: Any) -> Any:
        cluster = given.pop("cluster")
        choices = {p.name: given.pop(p.name) for p in ours if p.name != "cluster"}
        if not cluster:
            return run_here(**given)
        run_there = _run_long if verb in LONG else _run_short
        return run_there(cluster, verb, arguments, {**given, **choices})

    command.callback = run
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
        help="Do it on this Ray cluster: http://HEAD:8265.",
    ),
]


def _short(cluster: _Cluster = "") -> None: ...


def _long(
    cluster: _Cluster = "",
    detach: Annotated[
        bool, typer.Option("--detach", help="Start it, and do not wait for its end.")
    ] = False,
    image_has_code: Annotated[
        bool, typer.Option("--image-has-code", help="Use the cluster's bnsweep, send no code.")
    ] = False,
) -> None: ...


def _run_short(cluster: str, verb: str, arguments: Sequence[str], given: dict[str, Any]) -> int:
    from orchestrator.cluster import jobs  # only whoever has a cluster needs it

    rest, bring = _without(arguments), []
    if verb == "report":
        # Written where the job runs, and brought from there.
        bring = [f"{given['name']}-report"]
        rest = [*_without(rest, valued=("--out", "-o")), "--out", bring[0]]
    try:
        relayed = jobs.relay(cluster, [verb, *rest], _write, bring)
    except KeyboardInterrupt:  # how one leaves `logs -f`
        return 0
    if bring and relayed.files:
        _keep(relayed.files, bring[0], Path(given["out"] or bring[0]))
    return relayed.exit_code


def _keep(files: dict[str, bytes], folder: str, target: Path) -> None:
    """Write what was brought from `folder` there into `target` here, and nowhere else."""
    for name, content in files.items():
        place = (target / Path(name).relative_to(folder)).resolve()
        if target.resolve() not in place.parents:
            raise UnreachableError(f"the cluster sent a file that leads out of {target}: {name}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    screen.say(f"brought to {target.resolve()}")


def _run_long(cluster: str, verb: str, arguments: Sequence[str], given: dict[str, Any]) -> int:
    from orchestrator.cluster import jobs  # only whoever has a cluster needs jobs
    from orchestrator.sweep import sweep_spec

    image_has_code = bool(given["image_has_code"])
    if verb == "launch":
        path: Path = given["sweep_file"]
        spec = sweep_spec.load(path, given["overrides"])
        if not given["yes"]:  # how long it takes is known there only, in the cluster's store
            screen.confirm(f"submit {len(spec.trials)} trials, of unknown length, to {cluster}?")
        name, rest = spec.name, _without(arguments, positional=str(path))
        job = jobs.submit(cluster, spec, path, rest, image_has_code=image_has_code)
    else:
        name = given["name"]
        rest = _without(arguments, positional=name)
        job = jobs.resume(cluster, name, rest, image_has_code=image_has_code)
    said = "is running already" if job.already_running else "is submitted"
    screen.say(f"job {job.submission_id}: {said}")
    watch = f"bnsweep status {name} --cluster {cluster}"
    if given["detach"]:
        screen.say(f"next: {watch}")
        return 0
    try:
        return jobs.follow(cluster, job.submission_id, _write)
    except KeyboardInterrupt:
        screen.say(f"the job goes on; watch it: {watch}; end it: bnsweep stop {name} …")
        return 4


def _without(
    arguments: Sequence[str], *, valued: Sequence[str] = _VALUED, positional: str | None = None
) -> list[str]:
    """The arguments less our flags and the `valued` options, less the first `positional`."""
    rest: list[str] = []
    pending = iter(arguments)
    for argument in pending:
        if argument in valued:
            next(pending, None)
        elif argument == positional:
            positional = None
        elif re.fullmatch("-[a-z]{2,}", argument):  # -dy is -d and -y
            rest.append(argument.replace("d", ""))
        elif argument not in _FLAGS and argument.partition("=")[0] not in valued:
            rest.append(argument)
    return rest


def _write(stream: str, text: str) -> None:
    target = sys.stdout if stream == "out" else sys.stderr
    target.write(text)
    target.flush()
