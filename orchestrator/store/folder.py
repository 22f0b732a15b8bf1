"""The folder that a store is: its layout, disk space, version and clock, whatever lies in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import UnreachableError, UserError
from orchestrator.store import file_system, permissions
from orchestrator.sweep.descriptions import DESCRIBED
from trainer import own_code
from trainer.files import as_json, read, write_atomically, write_json, write_once
from trainer.spec import TrialSpec

# In a trial's folder, beside what training itself writes there (trainer.results):
ATTEMPTS = "attempts"
START = "start.json"
HEARTBEAT = "heartbeat"
LOG = "log.txt"
ERROR = "error.json"
PULLED = "pulled.json"
"""In an attempt that was not made here: where it came from."""

VERSION = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
"""Names of sweeps and trials: none leads out of the store."""

_CLOCK_S = 60.0
_FREE_BYTES = 262_144
"""A launch needs this much free space to begin another round."""


class StoreFolder:
    """The folder `root`. Cheap to make; reads nothing until asked."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._clock: tuple[float, float] | None = None
        """When the file server's clock was read last, by the monotonic clock; what it said."""

    # -- layout -------------------------------------------------------------------------------

    @property
    def sweeps_folder(self) -> Path:
        """Folder with a folder for each sweep."""
        return self.root / "sweeps"

    @property
    def trials_folder(self) -> Path:
        """Folder with a folder for each trial."""
        return self.root / "trials"

    def sweep_folder(self, name: str) -> Path:
        """The sweep's folder; the name cannot lead out of the store."""
        return self.sweeps_folder / _safe(name, "sweep")

    def trial_folder(self, trial_id: str) -> Path:
        """The trial's folder; the id cannot lead out of the store."""
        return self.trials_folder / _safe(trial_id, "trial")

    def attempt_folder(self, trial_id: str, number: int) -> Path:
        """The folder of one attempt."""
        return self.trial_folder(trial_id) / ATTEMPTS / str(number)

    def attempts(self, trial_id: str) -> list[int]:
        """Numbers of the trial's attempts, oldest first."""
        return numbers(self.trial_folder(trial_id) / ATTEMPTS)

    def forward_folder(self, name: str) -> Path:
        """Where the forwarder keeps its cursors and its lease."""
        return self.sweep_folder(name) / "forward"

    def keep_certificate(self, name: str, content: dict[str, Any]) -> Path:
        """Write what `verify` has found, beside what it has found before; returns the file."""
        folder = self.sweep_folder(name) / "verified"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{content['time_ms']}.json"
        write_json(path, content)
        return path

    def certificates(self, name: str) -> Iterator[dict[str, Any]]:
        """What `keep_certificate` has kept, the oldest first; what is damaged is left out."""
        for number in numbers(self.sweep_folder(name) / "verified", ".json"):
            path = self.sweep_folder(name) / "verified" / f"{number}.json"
            with contextlib.suppress(OSError, ValueError):
                yield json.loads(read(path))

    def launch_log(self, name: str, number: int) -> Path:
        """Where the chatter of Ray and MLflow goes during a launch."""
        return self.sweep_folder(name) / "launches" / f"{number}.log"

    def weights_file(self, sha256: str) -> Path:
        """Where a file of pretrained weights lies that a launch has kept, by its content."""
        return self.root / "weights" / f"{_safe(sha256, 'weights')}.pt"

    def weights_of(self, spec: TrialSpec) -> Path | None:
        """The file that a pretrained trial begins with; None for others, or where it is gone."""
        if spec.weights != "pretrained":
            return None
        path = self.weights_file(spec.weights_sha256)
        return path if path.exists() else None

    @property
    def code_folder(self) -> Path:
        """Folder with the user's own code that launches have named, by its content."""
        return self.root / "code"

    @property
    def described_folder(self) -> Path:
        """Folder where `sweep.descriptions` keeps what was said of such code."""
        return self.root / DESCRIBED

    def code(self, sha256: str) -> Path | None:
        """The .py file or package folder with this digest; None where no launch has kept it."""
        name = _safe(sha256, "code")
        paths = (self.code_folder / f"{name}.py", self.code_folder / name)
        return next((path for path in paths if path.exists()), None)

    def code_of(self, spec: TrialSpec) -> Path | None:
        """The user's own code that a trial needs; None where it needs none, or it is gone."""
        return self.code(spec.code_sha256) if spec.code_sha256 else None

    def keep_code(self, sha256: str, source: Path) -> None:
        """Copy a .py file or package folder into the store, once: nothing is ever overwritten.

        Raises UserError where `source`, or a copy that is there, has another content.
        """
        if self.code(sha256) is not None:
            self.check_code(sha256)
            return
        self.code_folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".code-", dir=self.root) as temporary:
            copy = Path(temporary) / source.name
            if source.is_dir():
                for name, content in own_code.files(source).items():
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(copy / name, content)
            else:
                write_atomically(copy, source.read_bytes())
            _check_code(copy, sha256)
            suffix = "" if source.is_dir() else ".py"
            with contextlib.suppress(FileExistsError):  # another launch was first
                copy.rename(self.code_folder / f"{sha256}{suffix}")

    def check_code(self, sha256: str) -> None:
        """Raise UserError where the copy of this code is missing or has another content."""
        kept = self.code(sha256)
        if kept is None:
            raise UserError(f"{self.code_folder}: has no code with sha256 {sha256[:12]}…")
        _check_code(kept, sha256)

    @property
    def initial_weights_folder(self) -> Path:
        """Folder with a copy of the initial weights for each set that trials began with."""
        return self.root / "initial"

    def keep_weights(self, files: Mapping[str, Path]) -> None:
        """Copy files of pretrained weights (sha256: path) into the store, each once.

        A resume needs them, and so does every node of a cluster. Raises UserError where one is no
        longer what was read.
        """
        for sha256, source in files.items():
            target = self.weights_file(sha256)
            if not target.exists():
                content = source.read_bytes()
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise UserError(f"{source}: was changed since the sweep was read; try again")
                target.parent.mkdir(exist_ok=True)
                write_atomically(target, content)

    def detached_log(self, name: str) -> Path:
        """What the launches in the background say, one behind the other."""
        return self.sweep_folder(name) / "detached.log"

    # -- disk space, version, clock ------------------------------------------------------------

    def open_for_writing(self) -> None:
        """Make the folders; check that they can be written, are where trials can be owned, and are
        of a version known here."""
        self._refuse_dangling()
        try:
            for folder in (self.sweeps_folder, self.trials_folder):
                folder.mkdir(parents=True, exist_ok=True)
            if not (self.root / "store.json").exists():
                # Once: two processes must agree on the store's identity.
                marker = as_json({"version": VERSION, "id": uuid.uuid4().hex})
                write_once(self.root / "store.json", marker)
            lacks = file_system.problems(self.root)
        except OSError as error:
            raise UnreachableError(
                permissions.denial(error)
                or f"store {self.root}: cannot be written ({error.strerror}); "
                "give another with --store or BNSWEEP_STORE"
            ) from error
        if lacks:
            raise UnreachableError(self.cannot_be_here(lacks))
        self.check_version()

    def cannot_be_here(self, lacks: Sequence[str]) -> str:
        """What to do about a file system of which `file_system.problems` says these things."""
        return (
            f"store {self.root}: its file system {'; it '.join(lacks)}; "
            "give a folder on a local disk or NFS with --store or BNSWEEP_STORE"
        )

    @property
    def identity(self) -> str:
        """Tells this store from others that mirror to the same tracker; "" in an old store.

        Raises UnreachableError where it cannot be read: under another one all would be sent again.
        """
        return str(self._marker().get("id", ""))

    def _marker(self) -> dict[str, Any]:
        """What store.json says; nothing in an old store. Raises UnreachableError."""
        path = self.root / "store.json"
        try:
            marker = json.loads(read(path))
            if isinstance(marker, dict) and isinstance(marker.get("id", ""), str):
                return marker
            reason = "not what bnsweep writes"
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        raise UnreachableError(
            f"{path}: is damaged ({reason}); write "
            f'{{"version": {VERSION}, "id": "…"}} there, with the tag bnsweep.store of its runs in '
            "MLflow as id, or remove it: then the next launch sends everything to new runs"
        )

    def lack_of_disk_space(self, needed_bytes: int) -> str:
        """What is free, in words, where it is less than a trial writes; empty where it is enough,
        or the file system does not say. Raises OSError."""
        disk = os.statvfs(self.root)
        free = disk.f_bavail * disk.f_frsize
        if not disk.f_blocks or free >= needed_bytes:
            return ""
        return (
            f"{free / 1e6:.1f} MB are free, the next trial writes up to {needed_bytes / 1e6:.1f} MB"
        )

    def check_disk_space(self, name: str, needed_bytes: int) -> None:
        """Refuse to go on with a sweep on a full disk or a lost mount.

        `needed_bytes`: what the next trial writes.
        """
        try:
            lack = self.lack_of_disk_space(needed_bytes)
            with tempfile.TemporaryFile(dir=self.root) as file:
                file.write(bytes(_FREE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UnreachableError(
                f"store {self.root}: cannot be written ({error.strerror}); "
                f"make room or mount it again, then: bnsweep resume {name}"
            ) from error
        if lack:
            raise UnreachableError(
                f"store {self.root}: {lack}; make room (bnsweep gc), then: bnsweep resume {name}"
            )

    def check_version(self) -> None:
        """Refuse a store that a newer bnsweep wrote, or whose identity is damaged, and a link that
        leads to none."""
        self._refuse_dangling()
        version = self._marker().get("version")
        if isinstance(version, int) and version > VERSION:
            raise UserError(
                f"store {self.root}: has version {version}, this bnsweep reads up to {VERSION}; "
                "install a newer bnsweep"
            )

    def _refuse_dangling(self) -> None:
        if self.root.is_symlink() and not self.root.exists():
            raise UnreachableError(
                f"store {self.root}: is a link to {os.readlink(self.root)}, which is not there; "
                "make that folder, mount it, or give another with --store or BNSWEEP_STORE"
            )

    def now(self) -> float:
        """The file server's clock in seconds: what it stamps on a file written this moment."""
        handle, path = tempfile.mkstemp(dir=self.root, prefix=".clock.")
        try:
            return os.fstat(handle).st_mtime
        finally:
            os.close(handle)
            Path(path).unlink(missing_ok=True)

    def server_time(self) -> float:
        """Like `now`, but measured once a minute: cheap enough for every status. In between it
        goes on with a clock that nobody sets."""
        elapsed = time.monotonic()
        if self._clock is None or elapsed - self._clock[0] > _CLOCK_S:
            try:
                self._clock = elapsed, self.now()
            except OSError:  # a store that may only be read
                self._clock = elapsed, time.time()
        return self._clock[1] + elapsed - self._clock[0]

    def remove(self, path: Path) -> None:
        """Delete a file or folder of the store (gc); never anything outside it."""
        if self.root not in path.absolute().parents:
            raise ValueError(f"{path} is not in the store")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def numbers(folder: Path, suffix: str = "") -> list[int]:
    """The positive whole numbers that are names in `folder` (with `suffix`), sorted."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    stems = (name.removesuffix(suffix) for name in names if name.endswith(suffix))
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())


def _check_code(path: Path, sha256: str) -> None:
    try:
        digest = own_code.digest(path)
    except own_code.CodeProblem as problem:
        raise UserError(f"{path}: {problem}") from problem
    if digest != sha256:
        raise UserError(f"{path}: is not the code with sha256 {sha256[:12]}…: it was changed")


def _safe(name: str, what: str) -> str:
    if not NAME.fullmatch(name) or ".." in name:
        raise UserError(f"{what} {name!r}: not a name; allowed: letters, digits, '_', '-', '.'")
    return name
