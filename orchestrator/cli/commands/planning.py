"""The verbs before a launch: init, schema, plan. Neither torch, Ray nor MLflow is imported."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator import settings
from orchestrator.cli import options, screen
from orchestrator.cli.board import clock
from orchestrator.cli.options import examples
from orchestrator.errors import UserError
from orchestrator.planning import limits
from orchestrator.planning import plan as planning
from orchestrator.planning.plan import Group, Plan, Totals
from orchestrator.store.store import Store
from orchestrator.sweep import schema as schema_module
from orchestrator.sweep import starter, sweep_spec
from orchestrator.sweep.resources import Resources
from orchestrator.sweep.sections import NAME_PATTERN

app = typer.Typer(rich_markup_mode=None)

SWEEP_NAME = re.compile(NAME_PATTERN)

MaxGpuHours = Annotated[
    float | None,
    typer.Option("--max-gpu-hours", metavar="HOURS", help="Refuse a plan that is longer."),
]
MaxMemory = Annotated[
    float | None,
    typer.Option("--max-memory", metavar="GB", help="Refuse a plan with a larger trial."),
]


@app.command("init", epilog=examples("bnsweep init", "bnsweep init sweeps/width.yaml"))
def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")] = Path(
        "my_sweep.yaml"
    ),
) -> None:
    """Write a commented sweep file to start from; it runs as it is, in a minute."""
    if not SWEEP_NAME.fullmatch(file.stem):
        raise UserError(f"{file}: a sweep has its file's name, of a-z, 0-9, '_' and '-'")
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(starter.text(file.stem))
    except FileExistsError:
        raise UserError(f"{file}: is there already; give another name") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from error
    screen.show(f"{file}: written")
    screen.say(f"next: bnsweep plan {file}", "dim")


@app.command("schema", epilog=examples("bnsweep schema", "bnsweep schema > sweep.schema.json"))
def schema() -> None:
    """Print the JSON schema of sweep files: editors complete and check with it."""
    screen.show_json(schema_module.document())


@app.command(
    "plan",
    epilog=examples(
        "bnsweep plan sweeps/quickstart.yaml",
        "bnsweep plan sweeps/quickstart.yaml --set depth=14,32 --json",
    ),
)
def plan(
    sweep_file: options.SweepFile,
    overrides: options.Overrides = [],  # noqa: B006  # typer copies it
    max_gpu_hours: MaxGpuHours = None,
    max_memory: MaxMemory = None,
    each: Annotated[bool, typer.Option("--each", help="A line for each trial.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a line a trial.")] = False,
    as_json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Show what launch would do: each trial, its state, parameters, FLOPs, memory and time.

    Starts nothing and writes nothing.
    """
    spec = sweep_spec.load(sweep_file, overrides)
    made = planning.make(spec, Store(settings.load(store).store))
    limit = None if max_memory is None else round(max_memory * 1e9)
    limits.check(made, max_gpu_hours, limit)
    if as_json:
        screen.show_json(made.to_json())
    elif as_csv:
        screen.write(made.to_csv())
    else:
        screen.show(trials(made) if each else groups(made), "", *summary(made))


def groups(made: Plan) -> Any:
    """The plan's table: a line for each configuration, columns for the axes."""
    axes = [axis for axis in made.axes if axis != "seed"]
    numbers = ["params", "trained", "FLOPs", "memory", "stored", "time"]
    rows = [_group_row(group, axes) for group in made.groups()]
    return screen.table([*axes, *numbers, "state"], rows, right=numbers)


def _group_row(group: Group, axes: list[str]) -> list[Any]:
    cost = group.costs
    return [
        *(str(getattr(group.spec, axis)) for axis in axes),
        f"{cost.counts.total:,}",
        f"{cost.counts.trainable:,}",
        screen.size(cost.flops_per_image),
        screen.size(cost.memory_bytes) + "B",
        screen.size(cost.checkpoint_bytes) + "B",
        clock(group.estimate.seconds) if group.estimate else "?",
        screen.counts(group.states),
    ]


def trials(made: Plan) -> Any:
    """The plan's table with a line for each trial."""
    rows = [
        [
            row.trial_id,
            clock(row.estimate.seconds) if row.estimate else "?",
            screen.state(row.status.state),
            row.why,
        ]
        for row in made.rows
    ]
    return screen.table(["trial", "time", "state", "what launch does"], rows, right=["time"])


def summary(made: Plan) -> list[str]:
    """What the whole plan comes to, in lines."""
    totals = made.totals
    lines = [
        f"{made.sweep}: {totals.to_run} of {totals.trials} trials to run",
        length(totals, side_by_side(made.resources)),
    ]
    if totals.to_run:
        lines.append(
            f"largest trial: {screen.size(totals.memory_bytes)}B of tensors, beside about 1 GB of "
            f"libraries; {screen.size(totals.disk_bytes)}B for the store"
        )
    if running := [row.status for row in made.rows if row.status.state == "running"]:
        lines.append(
            f"{len(running)} are being trained already ({running[0].owner}); "
            f"to watch them: bnsweep status {made.sweep} -w"
        )
    if made.removed:
        lines.append(
            f"{len(made.removed)} trials of the last launch are no longer in the file: left alone"
        )
    return lines


def side_by_side(resources: Resources) -> int:
    """How many trials train at once in a launch on this machine; 1 where only Ray knows: on a
    cluster, or beside a GPU."""
    if os.environ.get("RAY_ADDRESS") or resources.gpus not in ("auto", 0):
        return 1
    if resources.gpus == "auto" and shutil.which("nvidia-smi"):
        return 1
    return max(1, settings.cpu_count() // resources.cpus)


def length(totals: Totals, at_once: int = 1) -> str:
    """The training time of a plan, and what it is known from."""
    if not totals.to_run:
        return "nothing is left to do"
    if totals.hours is None:
        unknown = totals.trials_of_unknown_length
        return f"time unknown: this store has trained nothing like {unknown} of the trials"
    text = f"{clock(totals.hours * 3600)} of training, from times seen in this store"
    at_once = min(at_once, totals.to_run)
    if at_once > 1:
        text += f"; here {at_once} at a time, so about {clock(totals.hours * 3600 / at_once)}"
    return text
