"""Sweeps and commands as jobs on a Ray cluster (`--cluster`).

A launch is a job with a name that the sweep gives it; a `status` or `stop` is a short job whose
output is relayed and which is then forgotten. Where the store, the data and the tracker lie, and
every secret, comes from the cluster's environment: a job's metadata can be read by anybody there.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from orchestrator.cluster.ray_jobs import Head, Job
from orchestrator.cluster.relay import Receiver
from orchestrator.errors import BnsweepError, UnreachableError, UserError
from orchestrator.launching import source_code
from orchestrator.sweep.sweep_spec import SweepSpec
from trainer import own_code

Write = Callable[[str, str], None]
"""Called with `out` or `err` and a piece of text that the command printed there."""

_POLL_S = 1.0
_LOST_CONTACT_S = 60.0
"""How long a head that has answered before may be silent while a job is followed."""


class JobLostError(BnsweepError):
    """A job's process ended before the command did: what it began is incomplete (exit code 4)."""

    exit_code = 4


@dataclass(frozen=True)
class Submitted:
    """A job at the head, and whether it was running before it was asked for."""

    submission_id: str
    already_running: bool


@dataclass
class Relayed:
    """How a relayed command ended, and the files that it was asked to bring (name, content)."""

    exit_code: int
    files: dict[str, bytes] = field(default_factory=dict)


def submission_key(sweep: SweepSpec) -> str:
    """The part of a launch's submission id that its sweep and resolved trials give it."""
    trial_ids = "\n".join(sorted(trial.trial_id for trial in sweep.trials))
    return f"{sweep.name}-{hashlib.sha256(trial_ids.encode()).hexdigest()[:8]}"


def submit(
    url: str,
    sweep: SweepSpec,
    sweep_file: Path,
    options: Sequence[str] = (),
    *,
    image_has_code: bool = False,
) -> Submitted:
    """Start `launch` for the sweep on the cluster; what runs already is given back.

    `options`: what stands behind `launch SWEEP` there. Raises UnreachableError.
    """
    arguments = ["launch", sweep_file.name, *options]
    sent = sent_with(sweep_file, sweep)
    return _submit_once(Head(url), submission_key(sweep), arguments, sent, image_has_code)


def resume(
    url: str, name: str, options: Sequence[str] = (), *, image_has_code: bool = False
) -> Submitted:
    """Start `resume NAME` on the cluster; one that runs already is given back."""
    arguments = ["resume", name, *options]
    return _submit_once(Head(url), f"{name}-resume", arguments, {}, image_has_code)


def follow(url: str, submission_id: str, write: Write) -> int:
    """Pass on what the job prints until it ends; returns its exit code.

    Raises JobLostError where the command did not come to its end, UnreachableError where it never
    began or the head is gone. Ending this function early leaves the job running.
    """
    return _follow(Head(url), submission_id, write).exit_code


def relay(
    url: str,
    arguments: Sequence[str],
    write: Write,
    bring: Sequence[str] = (),
    *,
    image_has_code: bool = False,
) -> Relayed:
    """Run a short command on the cluster as if here.

    `bring`: files and folders that it leaves behind; they come back by their names.
    """
    head = Head(url)
    submission_id = f"bnsweep-{arguments[0]}-{secrets.token_hex(4)}"
    _start(head, submission_id, arguments, {}, bring, image_has_code)
    try:
        return _follow(head, submission_id, write)
    except KeyboardInterrupt:
        head.stop(submission_id)
        raise
    finally:
        _forget(head, submission_id)


def _submit_once(
    head: Head,
    key: str,
    arguments: Sequence[str],
    sent: Mapping[str, bytes],
    image_has_code: bool,
) -> Submitted:
    for last_try in (False, True):
        taken = _numbered(head.jobs(), key)
        running = [job for job in taken.values() if job.alive]
        if running:
            return Submitted(running[-1].submission_id, already_running=True)
        submission_id = f"{key}-{max(taken, default=0) + 1}"
        try:
            _start(head, submission_id, arguments, sent, (), image_has_code)
            break
        except UnreachableError:
            # Another laptop may have taken the number between our look and our call.
            if last_try or head.job(submission_id) is None:
                raise
    return Submitted(submission_id, already_running=False)


def _numbered(jobs: Sequence[Job], key: str) -> dict[int, Job]:
    """The jobs `<key>-<n>` by their n, in order."""
    pattern = re.compile(re.escape(key) + r"-(\d+)")
    matches = [(pattern.fullmatch(job.submission_id), job) for job in jobs]
    return dict(sorted((int(match[1]), job) for match, job in matches if match))


def _start(
    head: Head,
    submission_id: str,
    arguments: Sequence[str],
    sent: Mapping[str, bytes],
    bring: Sequence[str],
    image_has_code: bool,
) -> None:
    package = packed(sent, code=not image_has_code)
    metadata = {"bnsweep": shlex.join(arguments)}
    head.submit(submission_id, _entrypoint(arguments, bring), package, metadata)


def packed(sent: Mapping[str, bytes] = MappingProxyType({}), *, code: bool = True) -> bytes | None:
    """A zip of the code of both packages and of what the user sends, by its path, whichever is
    wanted; None where neither is. The same files give the same bytes.

    Ray's own packing of a folder would take what lies beside the packages (tests, data, a virtual
    environment), and not the sweep file.
    """
    files = {**(source_code.files() if code else {}), **sent}
    return source_code.zipped(files) if files else None


def sent_with(sweep_file: Path, sweep: SweepSpec) -> dict[str, bytes]:
    """The sweep file, and the user's own code where the file names it, by their paths.

    Raises UserError for code that lies elsewhere than in the file's folder.
    """
    sent = {sweep_file.name: sweep_file.read_bytes()}
    if sweep.code is None:
        return sent
    code = sweep.code.path
    try:
        place = code.relative_to(sweep_file.absolute().parent)
    except ValueError:
        place = Path("..")
    if ".." in place.parts:
        raise UserError(
            f"{sweep_file}: code: lies outside of the file's folder; --cluster sends what is in it"
        )
    root = place if code.is_dir() else place.parent
    return sent | {(root / name).as_posix(): data for name, data in own_code.files(code).items()}


# The head's Ray may have been started by its full path, from an environment that is on no PATH: the
# Python of that environment is near the library that the shell's parent, Ray, has loaded.
_PYTHON = (
    r"python=$(sed -n 's|^.* \(/.*\)/lib/python[0-9.]*/site-packages/ray/_raylet.*"
    r"|\1/bin/python|p' /proc/$PPID/maps 2>/dev/null | head -n 1)"
)


def _entrypoint(arguments: Sequence[str], bring: Sequence[str]) -> str:
    relay = ["-m", "orchestrator.cluster.relay", source_code.code_digest(), *bring, "--"]
    return f'{_PYTHON}; "${{python:-python}}" {shlex.join([*relay, *arguments])}'


def _follow(head: Head, submission_id: str, write: Write) -> Relayed:
    receiver = Receiver(write)
    heard = time.monotonic()
    while True:
        try:
            job = head.job(submission_id)
            log = head.logs(submission_id)
        except UnreachableError:
            if time.monotonic() - heard > _LOST_CONTACT_S:
                raise
            time.sleep(_POLL_S)
            continue
        heard = time.monotonic()
        receiver.feed(log)
        if receiver.exit_code is not None:
            return Relayed(receiver.exit_code, receiver.files)
        if job is None or not job.alive:
            raise _lost(submission_id, job, receiver)
        # The head sends the whole log each time: a long one is asked for less often.
        time.sleep(_POLL_S + len(log) / 1_000_000)


def _lost(submission_id: str, job: Job | None, receiver: Receiver) -> BnsweepError:
    lines = [line for line in receiver.foreign if line.strip()]
    if not lines and job is not None:
        lines = job.message.strip().splitlines()
    reason = lines[-1].strip()[:300] if lines else "it left no message"
    if receiver.heard:
        return JobLostError(
            f"job {submission_id}: its process ended before the command did ({reason}); "
            "bnsweep resume continues a sweep"
        )
    return UnreachableError(f"job {submission_id}: bnsweep could not begin there: {reason}")


def _forget(head: Head, submission_id: str) -> None:
    """Take a relayed command off the head's list; Ray wants its process to have ended before."""
    try:
        for _ in range(40):
            job = head.job(submission_id)
            if job is None or not job.alive:
                break
            time.sleep(_POLL_S / 4)
        head.forget(submission_id)
    except UnreachableError:
        return  # one more line in the head's list harms nobody
