"""A trial's append-only metric file: one JSON line for each epoch. No torch here."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from trainer import files


class Record(BaseModel):
    """One line of a journal: what was measured at the end of `epoch` (0: before training)."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants")

    seq: int
    """Number of the record in the trial, from 0; equals `epoch`: there is a record an epoch."""
    time_ms: int
    """Fixed when first written, so that sending it to a tracker twice stores it once."""
    step: int
    """Optimizer updates done."""
    epoch: int
    attempt: int
    metrics: dict[str, float]


def append(path: Path, records: Iterable[Record]) -> None:
    """Append records, each a whole line, and fsync."""
    lines = b"".join(record.model_dump_json().encode() + b"\n" for record in records)
    with path.open("ab") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Record]:
    """The valid records in order; a missing file is empty, a torn or damaged line ends the journal.

    What stands after a damaged line has no known predecessor, so it is not read.
    """
    try:
        lines = files.read(path).split(b"\n")
    except (FileNotFoundError, NotADirectoryError, files.NotAFile):
        return []
    records: list[Record] = []
    for line in lines[:-1]:  # a line without its newline was not completely written
        try:
            record = Record.model_validate_json(line)
        except ValidationError:
            break
        if records and record.epoch <= records[-1].epoch:
            break
        records.append(record)
    return records


def rewrite(path: Path, records: Iterable[Record]) -> None:
    """Make `path` hold exactly these records, in place of whatever it held."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    append(new, records)
    os.replace(new, path)


def same(one: Iterable[Record], other: Iterable[Record]) -> bool:
    """Whether both hold the same records; a metric that is not a number equals itself."""
    return [r.model_dump_json() for r in one] == [r.model_dump_json() for r in other]


def line_for_people(record: Record, epochs: int) -> str:
    """The record in a line, as a log shows it; `epochs`: how many the trial has."""
    values = record.metrics
    parts = [f"epoch {record.epoch:>3}/{epochs}"]
    for split in ("train", "validation", "test"):
        if f"{split}/loss" in values:
            loss, accuracy = values[f"{split}/loss"], values[f"{split}/accuracy"]
            parts.append(f"{split} loss {loss:.4f}, accuracy {accuracy:5.2f} %")
    if "images_per_second" in values:
        parts.append(f"{values['images_per_second']:.0f} images/s")
    return " · ".join(parts)
