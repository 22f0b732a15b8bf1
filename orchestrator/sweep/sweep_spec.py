"""Sweep files: YAML text → a checked `SweepSpec` with its trials."""

from __future__ import annotations

import difflib
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from orchestrator import settings
from orchestrator.errors import SweepError
from orchestrator.sweep import overrides as command_line
from orchestrator.sweep import own_code, python_values, sweep_file
from orchestrator.sweep.expand import check_depths, expand
from orchestrator.sweep.fields import Surroundings
from orchestrator.sweep.own_code import OwnCode
from orchestrator.sweep.problems import Problems
from orchestrator.sweep.resources import Resources
from orchestrator.sweep.resources import check as check_resources
from orchestrator.sweep.yaml_text import MAX_BYTES, compose
from trainer.spec import TrialSpec

__all__ = ["TEXT", "Resources", "SweepError", "SweepSpec", "load", "of", "parse"]

TEXT = "text"
"""Stands for the file's name where a program gives the YAML itself."""


class SweepSpec(BaseModel):
    """A sweep: what its file says, and the trials that this means.

    A launch is recorded with it, so its JSON is read again by later versions.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    description: str = ""
    source: str = ""
    """The YAML text as given."""
    filename: str = ""
    overrides: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    """The fields that vary, in the file's order."""
    resources: Resources = Resources()
    retries: int = 2
    trials: tuple[TrialSpec, ...] = ()
    """In a stable order: the axes as in the file, the last one fastest, then the seeds."""
    files: dict[str, Path] = Field(default_factory=dict)
    """sha256 → absolute path of the files of pretrained weights, to be copied into the store."""
    code: OwnCode | None = None
    """The user's own code, to be copied into the store; its digest is in each trial."""

    @field_serializer("trials")
    def _without_defaults(self, trials: tuple[TrialSpec, ...]) -> list[dict[str, Any]]:
        """The fields of each trial that differ from the global defaults."""
        return [trial.identity_fields() for trial in trials]


def load(path: Path | str, overrides: Sequence[str] = (), *, data: Path | None = None) -> SweepSpec:
    """The sweep in a file. Raises SweepError: a line for each problem, all at once.

    `data`: the data folder, where that of the environment is not meant. A folder of images in it
    says how many classes it has, where the file does not.
    """
    try:
        text = _text(Path(path))
    except UnicodeDecodeError as error:
        raise SweepError(f"{path}: not text in UTF-8 (byte {error.start})") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SweepError(f"{path}: cannot be read: {reason}{_near(Path(path))}") from error
    return parse(text, str(path), overrides, Path(path).parent, data=data)


def of(values: Mapping[str, Any]) -> SweepSpec:
    """The sweep that these values describe as a file would. Raises SweepError as `load`; a line of
    it names the key, since there is no file."""
    return parse(python_values.as_text(values), python_values.PLACE, lines=False)


def _text(path: Path) -> str:
    """The file's text; neither a device nor a pipe, and no more than a sweep file may have."""
    if stat.S_IFMT(path.stat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        raise SweepError(f"{path}: found a device or a pipe; allowed: a regular file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise SweepError(f"{path}: found more than {MAX_BYTES:,} bytes; allowed: at most that")
    return content.decode("utf-8-sig")


def _near(path: Path) -> str:
    """The file that may be meant: one beside it, or among `sweeps/`, of a name much like it."""
    folders = {path.parent, Path("sweeps")}
    files = {f.stem: f for folder in folders for f in sorted(folder.glob("*.yaml"))}
    close = difflib.get_close_matches(path.stem, files, n=1)
    return f"; did you mean {files[close[0]]}?" if close else ""


def parse(
    text: str,
    filename: str,
    overrides: Sequence[str] = (),
    folder: Path = Path(),
    *,
    lines: bool = True,
    data: Path | None = None,
) -> SweepSpec:
    """The sweep in a text; `filename` stands in messages, with the line or without `lines`. Raises
    SweepError as `load`.

    `folder`: what files named in the text are relative to; `data`: as of `load`.
    """
    problems = Problems()
    root = compose(text, filename, problems, line=lines)
    root = command_line.apply(root, overrides, problems)
    described = own_code.read(root, folder, problems)
    around = Surroundings(folder)
    if described:
        around = Surroundings(folder, described.names, trusting=described.description is None)
    file = sweep_file.read(root, around, problems)
    if problems.records:
        check_depths(root, problems)
    problems.raise_if_any()
    assert file is not None
    trials, files = expand(
        file,
        root,
        problems,
        code=described,
        overridden=bool(overrides),
        data=settings.load(data=data).data,
    )
    check_resources(file.resources, trials, root.entry("resources"), problems)
    problems.raise_if_any()
    swept = [*file.axes, *(name for group in file.paired for name in group)]
    swept += file.sample.of if file.sample else ()
    swept += [name for entry in file.include for name in (*entry.values, *entry.axes)]
    return SweepSpec(
        name=file.name,
        description=file.description,
        source=text,
        filename=filename,
        overrides=tuple(overrides),
        axes=tuple(dict.fromkeys(name for name in swept if name != "seed")),
        resources=file.resources,
        retries=file.retries,
        trials=trials,
        files=files,
        code=described.code if described else None,
    )
