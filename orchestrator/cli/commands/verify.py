"""`bnsweep verify`."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli import options, screen
from orchestrator.launching import verify as repeating
from orchestrator.settings import load as load_settings
from orchestrator.store import lookup
from orchestrator.store.store import Store

EXAMPLES = (
    "bnsweep verify depth",
    "bnsweep verify depth --sample 3 --epochs 10",
    "bnsweep verify depth --trial 6dcfdff9",
)
_MARKS = {"same": ("ok", "green"), "differs": ("NO", "bold red")}


def verify(
    name: options.SweepName,
    sample: Annotated[
        int, typer.Option("--sample", min=1, max=10_000, help="How many finished trials, by lot.")
    ] = 5,
    epochs: Annotated[
        int, typer.Option("--epochs", min=0, help="Only their first epochs; 0: all.")
    ] = 0,
    trials: options.TrialIds = [],  # noqa: B006  # typer copies it
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=2**32 - 1, help="Of the lot, to draw the same again."),
    ] = None,
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
    data_folder: options.DataFolder = None,
) -> int:
    """Train some finished trials again on this machine, and compare every number.

    Where trials are computed as they were, the numbers are equal to the last bit: exit code 1 where
    one is not. What was found is kept in the store.
    """
    store = Store(load_settings(store_folder).store)
    store.check_version()
    launch = lookup.launch_of(store, name)
    settings = load_settings(store.root, data_folder, default_data=lookup.data_of(launch))
    lot = secrets.randbelow(2**32) if seed is None else seed
    only = [lookup.trial_id(store, typed) for typed in trials]
    specs = repeating.drawn(store, name, sample, lot, only)

    def say(index: int) -> None:
        trial_id = specs[index].trial_id
        summary = store.summary(trial_id)
        took = f", which took {summary.seconds:.0f} s" if summary and not epochs else ""
        screen.say(f"{index + 1} of {len(specs)}: training {trial_id} again{took}", "dim")

    found, kept = repeating.verify(
        store, name, specs, settings.data, epochs=epochs, seed=lot, before=say
    )
    differs = any(one.verdict == "differs" for one in found)
    if as_json:
        content = {"ok": not differs, "seed": lot, "certificate": str(kept)}
        screen.show_json({**content, "trials": [asdict(one) for one in found]})
        return 1 if differs else 0
    rows = [[_mark(one.verdict), one.trial_id, str(one.epochs), _words(one)] for one in found]
    screen.show(Text(name, "bold"), screen.table(["", "trial", "epochs", "found"], rows))
    screen.say(f"kept: {kept}", "dim")
    return 1 if differs else 0


def _mark(verdict: str) -> Text:
    text, style = _MARKS.get(verdict, ("–", "yellow"))
    return Text(text, style)


def _words(one: repeating.Repeated) -> str:
    if one.verdict == "same":
        return "every number is the same"
    return f"{one.verdict}: {one.detail}"
