"""What `push` and `pull` show alike: what became of each trial, and the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated

import typer

from orchestrator.cli import screen
from orchestrator.store.transfer import Step

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL", help="A folder, ssh://HOST/PATH or s3://BUCKET/PREFIX.", show_default=False
    ),
]


def show(verb: str, url: str, steps: Iterator[Step], as_json: bool) -> int:
    """Show each step as it is made, then their number; returns the exit code: 1 where a trial was
    refused, 4 where it was interrupted."""
    done: list[Step] = []
    interrupted = False
    try:
        for step in steps:
            done.append(step)
            if not as_json and step.outcome != "there":
                _show_step(verb, step)
    except KeyboardInterrupt:
        interrupted = True
    counts = Counter(step.outcome for step in done)
    if as_json:
        left = [vars(s) for s in done if s.why]
        moved = [s.trial_id for s in done if s.outcome == "moved"]
        screen.show_json({"url": url, "moved": moved, "there": counts["there"], "left": left})
    else:
        left_text = f", {counts['busy']} left alone" if counts["busy"] else ""
        screen.show(
            f"{counts['moved']} {verb}ed, {counts['there']} there already, "
            f"{counts['refused']} refused{left_text}"
        )
    if interrupted:
        screen.say("interrupted; the same command goes on")
        return 4
    return 1 if counts["refused"] else 0


def _show_step(verb: str, step: Step) -> None:
    if step.outcome == "moved":
        screen.say(f"{step.trial_id}: {verb}ed", "dim")
    else:
        screen.show(f"{step.trial_id}: {step.outcome}: {step.why}")
