"""What a user's own code defines and what its networks cost, as `python -m trainer describe` says.

The code is loaded in a process of its own, never here, and given up after a minute. An answer
without a problem is kept in a cache folder: it is a function of the code, of the trainer, of the
versions of torch and its libraries and of the specs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

import trainer
from orchestrator import python_process, settings
from orchestrator.errors import UserError
from trainer import own_code
from trainer.files import write_json
from trainer.modes import Counts
from trainer.spec import TrialSpec

TIMEOUT_S = 120.0
"""Loading torch and a library of networks takes about a minute where others use the CPU, too."""
DESCRIBED = Path("cache", "describe")
"""In a store."""
_LIBRARIES = ("torch", "torchvision", "timm")
_CONFIG = ConfigDict(frozen=True, extra="ignore")


class CodeProblem(BaseModel):
    """Something wrong with the user's code; `file` and `line` are theirs, where they are known."""

    model_config = _CONFIG

    message: str
    file: str = ""
    line: int = 0
    traceback: str = ""

    def within(self, code: Path | None) -> str:
        """The message behind file and line; the file is named from the folder of the code."""
        if code is None:
            return self.message
        file = Path(self.file or code)
        name = file.relative_to(code.parent) if file.is_relative_to(code.parent) else file
        return f"{name}{f':{self.line}' if self.line else ''}: {self.message}"


class Network(BaseModel):
    """A network that the code defines."""

    model_config = _CONFIG

    label: str = ""
    depths: tuple[int, ...] | None = None
    """None: any."""
    sides: tuple[int, int]
    """The smallest and largest side of the images it takes, in pixels."""


class DataSet(BaseModel):
    """A data set that the code defines; 0 images: not known before they are read."""

    model_config = _CONFIG

    classes: int
    side: int
    train_images: int = 0
    test_images: int = 0


class Facts(BaseModel):
    """What planning needs of one network in one freezing mode."""

    model_config = _CONFIG

    counts: Counts
    flops_per_image: int
    """Of the forward pass."""
    backward_flops_per_image: int = 0
    activation_bytes_per_image: int
    """Kept for the backward pass."""
    statistics: int = 0
    """Elements of buffers, such as running statistics."""


class Refused(BaseModel):
    """A spec that cannot be trained."""

    model_config = _CONFIG

    problem: CodeProblem


class Description(BaseModel):
    """The whole answer; what there is of each kind, by name."""

    model_config = _CONFIG

    networks: dict[str, Network] = {}
    data_sets: dict[str, DataSet] = {}
    modes: dict[str, Any] = {}
    probes: dict[str, Any] = {}
    augmentations: dict[str, Any] = {}
    trials: tuple[Refused | Facts, ...] = ()
    problems: tuple[CodeProblem, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems and not any(isinstance(t, Refused) for t in self.trials)


def ask(
    code: Path | None,
    specs: Sequence[TrialSpec] = (),
    *,
    check: bool = False,
    data: Path | None = None,
    store: Path | None = None,
) -> Description:
    """What the code at `code` defines, and for each of `specs` its facts or what is wrong with it.

    `check`: two steps of each network and mode are trained on synthetic images, too. `data`: the
    code's own data sets are read there, and the answer is not kept. It is kept in `store`, or for
    this user where there is no store that can be written. The code works in an empty folder, and
    where it writes into the store, that is a problem of it.
    """
    fields = [spec.identity_fields() for spec in specs]
    cached = _cache_folder(store) / f"{_key(code, fields, check=check)}.json"
    if data is None:
        with contextlib.suppress(OSError, ValidationError):
            return Description.model_validate_json(cached.read_bytes())
    watched = store or settings.load().store
    description = _asked(code, fields, check=check, data=data, store=watched)
    if data is None and description.whole:
        with contextlib.suppress(OSError):
            cached.parent.mkdir(parents=True, exist_ok=True)
            write_json(cached, description)
    return description


def _asked(
    code: Path | None,
    fields: Sequence[dict[str, Any]],
    *,
    check: bool,
    data: Path | None,
    store: Path,
) -> Description:
    arguments: list[object] = ["describe", "--store", store]
    arguments += ["--code", code] if code else []
    arguments += ["--check"] if check else []
    arguments += ["--data", data] if data else []
    try:
        with tempfile.TemporaryDirectory(prefix="own-code-") as empty:
            arguments += ["--here", empty]
            answer = python_process.ask("trainer", *arguments, given=fields, timeout_s=TIMEOUT_S)
        return Description.model_validate(answer)
    except UserError as error:
        message = str(error)
        if message.startswith("no answer within"):
            message = f"did not answer within {TIMEOUT_S:.0f} s"
    except ValueError:
        message = "ended the process that was to describe it"
    return Description(problems=(CodeProblem(message=message),))


def _key(code: Path | None, fields: Sequence[dict[str, Any]], *, check: bool) -> str:
    """What the answer is a function of."""
    sha256 = own_code.digest(code) if code else ""
    content = [sha256, _trainer_digest(), _versions(), check, fields]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


@lru_cache(maxsize=1)
def _trainer_digest() -> str:
    """Of the trainer's own source."""
    root = Path(trainer.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _versions() -> list[str]:
    """Of what builds and counts networks; empty for what is not installed."""
    versions = []
    for name in _LIBRARIES:
        try:
            versions.append(metadata.version(name))
        except metadata.PackageNotFoundError:
            versions.append("")
    return versions


def _cache_folder(store: Path | None) -> Path:
    if store is not None and store.is_dir() and os.access(store, os.W_OK):
        return store / DESCRIBED
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "bnsweep" / "describe"
