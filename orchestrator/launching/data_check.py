"""Whether the data sets of a sweep are there, before anything starts: asked of the trainer itself.

In a process of its own, since the trainer loads torch. A data set that can be fetched is fetched
and prepared by it, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator import python_process
from orchestrator.errors import UserError
from trainer.data import layouts
from trainer.data_sets import data_set
from trainer.errors import DataError
from trainer.spec import TrialSpec, classes_of


def wanted(specs: Iterable[TrialSpec]) -> list[TrialSpec]:
    """One trial for each data set that must be looked for; of the user's own code none."""
    found: dict[tuple[object, ...], TrialSpec] = {}
    for spec in specs:
        data = data_set(spec.dataset)
        if not data.always_there and data.storage != "code":
            kind = (
                spec.dataset, spec.data_id, spec.image_size, spec.crop_padding, spec.shorter_side
            )  # fmt: skip
            found.setdefault(kind, spec)
    return list(found.values())


def problems(specs: Iterable[TrialSpec], data: Path) -> list[str]:
    """A line for each data set of the trials that cannot be used, saying where to put it."""
    looked_for = wanted(specs)
    if not looked_for:
        return []
    fields = [spec.identity_fields() for spec in looked_for]
    try:
        lines: list[str] = python_process.ask("trainer", "check-data", "--data", data, given=fields)
    except UserError as error:
        return [f"the trainer cannot load data here: {error}"]
    return lines


def folders(specs: Iterable[TrialSpec]) -> list[TrialSpec]:
    """One trial for each folder of images that they need, and each size it is reduced to."""
    found: dict[tuple[object, ...], TrialSpec] = {}
    for spec in specs:
        if data_set(spec.dataset).storage == "folder":
            kind = (spec.data_id or spec.dataset, classes_of(spec), spec.shorter_side)
            found.setdefault(kind, spec)
    return list(found.values())


def found(specs: Iterable[TrialSpec], data: Path) -> list[str]:
    """A line for each folder of images that the trials need: its layout, how many images and
    classes, or what is missing. Looks at names alone."""
    return [_look(spec, data) for spec in folders(specs)]


def _look(spec: TrialSpec, data: Path) -> str:
    name, side = spec.data_id or spec.dataset, spec.shorter_side
    copy = layouts.prepared_folder(data, name, side)
    if side and copy.exists():
        return f"{copy}: prepared images, their shorter side {side} pixels"
    note = "; `bnsweep prepare` keeps them reduced, which trains faster" if side else ""
    try:
        return str(layouts.find(data / name, classes_of(spec))) + note
    except DataError as error:
        return str(error)


def prepare(specs: Iterable[TrialSpec], data: Path, decoders: int) -> Iterator[str]:
    """Make the data of these trials ready; a line for what is done. Raises UserError."""
    fields = [spec.identity_fields() for spec in specs]
    arguments = ("--data", data, "--decoders", decoders)
    return python_process.follow("trainer", "prepare", *arguments, given=fields)
