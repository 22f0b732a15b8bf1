"""Finished trials on their way between a store and a `Remote`: a union by trial id.

    trials/<trial_id>.tar               a finished trial, see archive.py
    sweeps/<name>/<sha256>.json         ids of the trials of a sweep, as one store knew them

A trial that is on both sides is compared by the digest of its numbers, and never replaced. Each
arrives whole or not at all, so that what was interrupted goes on with the trial it was at.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from orchestrator.errors import UserError
from orchestrator.store import archive, liveness, lookup, ownership
from orchestrator.store.archive import CODE, ArchiveProblem
from orchestrator.store.folder import LOG, NAME, PULLED, START
from orchestrator.store.liveness import Heartbeat, Start
from orchestrator.store.ownership import Claim
from orchestrator.store.remote import Remote
from orchestrator.store.store import Store
from trainer import files, results
from trainer.own_code import CodeProblem
from trainer.results import Result

_SUFFIX = ".tar"


@dataclass(frozen=True)
class Step:
    """What became of one trial."""

    trial_id: str
    outcome: Literal["moved", "there", "refused", "busy"]
    """`there`: with the same numbers, already. `busy`: being trained here, so left alone."""
    why: str = ""


def push(store: Store, remote: Remote, name: str = "") -> Iterator[Step]:
    """Send the finished trials of a sweep, or of the whole store for "".

    Raises UserError for a sweep that the store does not have, UnreachableError.
    """
    if not store.root.is_dir():
        raise UserError(f"store {store.root}: is not there; say where results are with --store")
    sweeps = lookup.sweep_names(store, name)
    for sweep in sweeps:
        _send_list(store, remote, sweep)
    ids = [spec.trial_id for spec in store.launched(name)] if name else sorted(store.trial_ids())
    there = remote.names("trials")
    for trial_id in ids:
        result = store.result(trial_id)
        if result is not None:
            yield _send(store, remote, trial_id, result, f"{trial_id}{_SUFFIX}" in there)


def _send_list(store: Store, remote: Remote, sweep: str) -> None:
    ids = sorted(spec.trial_id for spec in store.launched(sweep))
    content = json.dumps({"sweep": sweep, "trials": ids}, indent=1).encode()
    remote.write_once(f"sweeps/{sweep}/{hashlib.sha256(content).hexdigest()}.json", content)


def _send(store: Store, remote: Remote, trial_id: str, result: Result, there: bool) -> Step:
    path = f"trials/{trial_id}{_SUFFIX}"
    try:
        if not there and remote.write_once(path, archive.pack(store, trial_id, result)):
            return Step(trial_id, "moved")
        return _compare(remote, trial_id, result)
    except ArchiveProblem as problem:
        return Step(trial_id, "refused", str(problem))


def pull(store: Store, remote: Remote, name: str = "") -> Iterator[Step]:
    """Fetch the finished trials of a sweep, or all that are there for "".

    Raises UserError for a sweep that is not there, UnreachableError.
    """
    wanted = _trials_of(remote, name) if name else None
    found = {n.removesuffix(_SUFFIX) for n in remote.names("trials") if n.endswith(_SUFFIX)}
    for trial_id in sorted(found if wanted is None else found & wanted):
        if NAME.fullmatch(trial_id):
            yield _fetch(store, remote, trial_id)


def _trials_of(remote: Remote, sweep: str) -> set[str]:
    known = remote.names("sweeps")
    if sweep not in known:
        there = f"; there: {', '.join(sorted(known))}" if known else ", which has none"
        raise UserError(f"sweep {sweep}: not in {remote.url}{there}")
    ids: set[str] = set()
    for file in remote.names(f"sweeps/{sweep}"):
        with contextlib.suppress(ValueError, TypeError, KeyError):  # damaged: the others count
            ids.update(json.loads(remote.read(f"sweeps/{sweep}/{file}"))["trials"])
    return ids


def _fetch(store: Store, remote: Remote, trial_id: str) -> Step:
    try:
        result = store.result(trial_id)
        if result is not None:
            return _compare(remote, trial_id, result)
        if store.state(trial_id).state == "running":
            return Step(trial_id, "busy", "is being trained here")
        content = archive.contents(remote.read(f"trials/{trial_id}{_SUFFIX}"), trial_id)
        if not _place(store, content, remote.url):
            return Step(trial_id, "busy", "was begun or finished here meanwhile")
        return Step(trial_id, "moved")
    except ArchiveProblem as problem:
        return Step(trial_id, "refused", str(problem))


def _compare(remote: Remote, trial_id: str, result: Result) -> Step:
    about = archive.about(remote.read(f"trials/{trial_id}{_SUFFIX}", archive.HEAD_BYTES))
    if about.trial_id == trial_id and about.numbers == archive.numbers(result):
        return Step(trial_id, "there")
    return Step(trial_id, "refused", "both sides have finished it, with different numbers")


# -- a trial's files into the store --------------------------------------------------------------


def _place(store: Store, content: dict[str, bytes], url: str) -> bool:
    """Make the trial finished, by an attempt of its own that claims and publishes as a worker's
    does. False where a living attempt has the trial, or another one has finished it."""
    result = results.parse(content[results.RESULT])
    if result.spec.code_sha256:
        _keep_code(store, result.spec.code_sha256, content)
    claim = ownership.claim(store, result.spec, liveness.this_process())
    if claim is None:
        return False
    try:
        with Heartbeat(claim.folder):
            _write(store, claim, content, result, url)
    except BaseException:
        shutil.rmtree(claim.folder, ignore_errors=True)  # nobody else has written there
        raise
    return ownership.publish(store, claim)


def _write(store: Store, claim: Claim, content: dict[str, bytes], result: Result, url: str) -> None:
    """All files of the attempt, the result after all that it needs: with it the attempt ends."""
    mark = {"url": url, "time_ms": time.time_ns() // 1_000_000}
    files.write_json(claim.folder / PULLED, mark)
    for name in content:
        if name == LOG or name.startswith(f"{results.ARTIFACTS}/"):
            path = claim.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomically(path, content[name])
    if results.INITIAL in content:
        _keep_initial(store, claim, content[results.INITIAL], result.digests.get("initial", ""))
    files.write_atomically(claim.folder / results.JOURNAL, content[results.JOURNAL])
    path = claim.folder / results.RESULT
    if result.attempt == claim.number:
        files.write_atomically(path, content[results.RESULT])
    else:
        results.write(path, result.model_copy(update={"attempt": claim.number}))
    # From here on nobody asks whether its owner lives, so start.json may say who trained it.
    with contextlib.suppress(KeyError, ValidationError):
        start = Start.model_validate_json(content[START])
        whole = start.model_copy(update={"resumed_from": None})  # as its journal is
        files.write_json(claim.folder / START, whole)


def _keep_initial(store: Store, claim: Claim, content: bytes, digest: str) -> None:
    """A link to the store's one copy of these weights, as a worker makes it; or a copy."""
    target = claim.folder / results.INITIAL
    if re.fullmatch(r"[0-9a-f]{64}", digest):
        store.initial_weights_folder.mkdir(exist_ok=True)
        shared = store.initial_weights_folder / f"{digest}.pt"
        if not shared.exists():
            files.write_once(shared, content)
        with contextlib.suppress(OSError):  # as many links as there can be, or gc took it
            os.link(shared, target)
            return
    files.write_atomically(target, content)


def _keep_code(store: Store, sha256: str, content: dict[str, bytes]) -> None:
    """The user's own code into the store. Raises ArchiveProblem where it is not what is named."""
    code = {name.removeprefix(f"{CODE}/"): content[name] for name in content if _is_code(name)}
    if not code:
        raise ArchiveProblem("lacks the code that it names")
    with tempfile.TemporaryDirectory(prefix=".transfer-", dir=store.root) as temporary:
        package = Path(temporary) / "package"
        for name, text in code.items():
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            (package / name).write_bytes(text)
        whole = package if f"{CODE}/__init__.py" in content else package / next(iter(code))
        try:
            store.keep_code(sha256, whole)
        except (UserError, CodeProblem) as error:
            raise ArchiveProblem(f"its code is not the one that it names: {error}") from error


def _is_code(name: str) -> bool:
    return name.startswith(f"{CODE}/")
