"""A finished trial as one file: a tar of its spec, result, journal, artifacts, and what these need.

    about.json       trial and digest of its numbers; always the first `HEAD_BYTES` of the file
    contents.json    sha256 of each member that follows
    spec.json result.json journal.jsonl start.json log.txt artifacts/…    as in the trial's folder
    initial.pt       its initial weights, where they are kept
    code/…           the user's own code that it names: a .py file, or the files of a package

Made twice of the same trial it has the same bytes. Its journal is the whole chain of the attempts.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.store.folder import LOG, START
from orchestrator.store.store import Store
from trainer import own_code, results
from trainer.results import Result
from trainer.spec import TrialSpec

ABOUT = "about.json"
CONTENTS = "contents.json"
CODE = "code"
HEAD_BYTES = 1024
"""The tar header of about.json, and about.json itself."""
VERSION = 1
_PLAIN = {results.SPEC, results.RESULT, results.JOURNAL, START, LOG, results.INITIAL}
_OF_THE_CLOCK = "images_per_second"
"""The metric that tells of the machine, not of the trial."""


class ArchiveProblem(Exception):
    """Why a trial cannot be made an archive, or an archive cannot be used."""


class About(BaseModel):
    """`about.json`: which trial this is, and the digest of its numbers (see `numbers`)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int
    trial_id: str
    numbers: str


def numbers(result: Result) -> str:
    """sha256 of what was computed: each epoch's metrics, the probes, initial and final weights.

    Where, when and how fast it was trained, and as which attempt, make no difference.
    """
    digests = {name: result.digests.get(name, "") for name in ("initial", "final", "data")}
    epochs = [[r.epoch, r.step, _of_the_trial(r.metrics)] for r in result.history]
    computed = [result.trial_id, digests, _of_the_trial(result.metrics), epochs]
    return hashlib.sha256(json.dumps(computed, sort_keys=True).encode()).hexdigest()


def _of_the_trial(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name != _OF_THE_CLOCK}


# -- writing -------------------------------------------------------------------------------------


def pack(store: Store, trial_id: str, result: Result) -> bytes:
    """The archive of a finished trial. Raises ArchiveProblem where its folder is not whole."""
    spec = store.spec(trial_id)
    if spec is None or spec.trial_id != trial_id or result.spec != spec:
        raise ArchiveProblem("its spec and its result are not of one trial; see bnsweep audit")
    files = _of_the_folder(store, trial_id, result.attempt)
    records = result.history  # the journal itself may be damaged
    files[results.JOURNAL] = b"".join(r.model_dump_json().encode() + b"\n" for r in records)
    if spec.code_sha256:
        files |= _code(store, spec.code_sha256)
    about = About(version=VERSION, trial_id=trial_id, numbers=numbers(result))
    digests = {name: _digest(files[name]) for name in sorted(files)}
    _check_artifacts(result, digests)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        _add(archive, ABOUT, about.model_dump_json().encode())
        _add(archive, CONTENTS, json.dumps(digests, indent=1).encode())
        for name in digests:
            _add(archive, name, files[name])
    return buffer.getvalue()


def _check_artifacts(result: Result, digests: Mapping[str, str]) -> None:
    """Raise ArchiveProblem where a file is missing, or another one, that the result names."""
    for name, digest in result.artifacts.items():
        if digests.get(f"{results.ARTIFACTS}/{name}") != digest:
            raise ArchiveProblem(f"its {name} is not the one that its result names; see audit")


def _of_the_folder(store: Store, trial_id: str, attempt: int) -> dict[str, bytes]:
    folder = store.attempt_folder(trial_id, attempt)
    paths = {name: folder / name for name in (START, LOG, results.INITIAL)}
    paths[results.SPEC] = store.trial_folder(trial_id) / results.SPEC
    paths[results.RESULT] = store.trial_folder(trial_id) / results.RESULT
    for path in (folder / results.ARTIFACTS).rglob("*"):
        paths[path.relative_to(folder).as_posix()] = path
    return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}


def _code(store: Store, sha256: str) -> dict[str, bytes]:
    kept = store.code(sha256)
    if kept is None:
        raise ArchiveProblem("the code that it names is not in the store; see bnsweep audit")
    return {f"{CODE}/{name}": content for name, content in own_code.files(kept).items()}


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # no time, no owner
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# -- reading -------------------------------------------------------------------------------------


def about(head: bytes) -> About:
    """What an archive, or its first `HEAD_BYTES`, says of itself. Raises ArchiveProblem."""
    try:
        with tarfile.open(fileobj=io.BytesIO(head), mode="r:") as archive:
            member = archive.next()
            file = archive.extractfile(member) if member and member.name == ABOUT else None
            found = About.model_validate_json(file.read() if file else b"")
    except (tarfile.TarError, ValidationError, OSError) as error:
        raise ArchiveProblem("is not the archive of a trial, or damaged") from error
    if found.version > VERSION:
        raise ArchiveProblem("was written by a newer bnsweep; install that")
    return found


def contents(data: bytes, trial_id: str) -> dict[str, bytes]:
    """The files in an archive by name, each with the digest that is listed.

    Raises ArchiveProblem for one that is damaged, another trial's, or has a file too many or one
    that does not belong into a trial's folder.
    """
    found = about(data)
    files = _files(data)
    files.pop(ABOUT, None)
    try:
        listed = json.loads(files.pop(CONTENTS, b""))
        spec = TrialSpec.model_validate_json(files.get(results.SPEC, b""))
        result = results.parse(files.get(results.RESULT, b""))
        files[results.JOURNAL]
    except (ValueError, KeyError) as error:
        raise ArchiveProblem("is damaged") from error
    if listed != {name: _digest(content) for name, content in files.items()}:
        raise ArchiveProblem("is damaged: its contents are not as listed")
    same = {trial_id, found.trial_id, spec.trial_id, result.trial_id, result.spec.trial_id}
    if same != {trial_id} or found.numbers != numbers(result):
        raise ArchiveProblem("holds another trial than it says")
    for name in files:
        if not _belongs(name):
            raise ArchiveProblem(f"holds {name!r}, which is no part of a trial")
    _check_artifacts(result, listed)
    return files


def _files(data: bytes) -> dict[str, bytes]:
    """Regular files alone: links and devices are no part of a trial."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            members = [(m.name, archive.extractfile(m)) for m in archive if m.isfile()]
            return {name: file.read() for name, file in members if file}
    except (tarfile.TarError, OSError) as error:
        raise ArchiveProblem("is damaged") from error


def _belongs(name: str) -> bool:
    parts = PurePosixPath(name).parts
    if len(parts) == 1:
        return name in _PLAIN
    plain = all(re.fullmatch(r"[^\0/\\]+", part) and part != ".." for part in parts)
    return plain and parts[0] in (results.ARTIFACTS, CODE)
