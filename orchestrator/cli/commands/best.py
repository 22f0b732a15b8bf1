"""`bnsweep best`. Loads SciPy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import new_sweep, options, screen
from orchestrator.reporting import best as choosing
from orchestrator.settings import load as load_settings
from orchestrator.store.store import Store

EXAMPLES = (
    "bnsweep best rates",
    "bnsweep best rates --by depth --by trainable",
    "bnsweep best rates --write rates-best.yaml --seeds 5",
)


def best(
    name: options.SweepName,
    by: Annotated[
        list[str],
        typer.Option(
            "--by",
            metavar="FIELD",
            help="The best for each value of this field, the freezing modes where they vary; may "
            "be given several times.",
        ),
    ] = [],  # noqa: B006  # typer copies it
    on_test_images: options.OnTestImages = False,
    write: Annotated[
        Path | None,
        typer.Option(
            "--write", metavar="FILE", help="Write a sweep file of the best, with new seeds."
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=1000, help="How many seeds that file has.")
    ] = 5,
    as_json: options.Json = False,
    store_folder: options.StoreFolder = None,
) -> None:
    """Show the best configuration for each value of a field, by validation, mean over seeds."""
    new_name = new_sweep.name_of(write) if write else ""
    store = Store(load_settings(store_folder).store)
    choice = choosing.choose(store, name, by, on_test_images=on_test_images)
    if write:
        new_sweep.write(write, choice.follow_up(new_name, seeds))
    if as_json:
        screen.show_json(choice.to_json())
    else:
        screen.show(*screen.titled_table(choice.table()))
    if write:
        screen.say(f"{write}: written; next: bnsweep plan {write}", "dim")
