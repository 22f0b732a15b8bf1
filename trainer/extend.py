"""What a file of your own code, named by `code:` in a sweep, may define.

    from torch import nn
    from trainer.extend import BatchNorm, conv, mode, network, output

    @network(depths=[1, 2], sides=(8, 64))
    class Tiny(nn.Module):
        def __init__(self, spec):
            super().__init__()
            self.conv1, self.bn1 = conv(3, 16 * spec.width, 3), BatchNorm(16 * spec.width, spec)
            self.fc = output(16 * spec.width, spec)

        def forward(self, images):
            return self.fc(self.bn1(self.conv1(images), relu=True).mean((2, 3)))

    @mode
    def stem_only(role):
        return role.name.startswith("conv1.")

A definition's name is that of its class or function in snake_case (`Tiny` is `model: tiny`), or
`name=`. Nothing is registered for good: the definitions count while a trial that names this code
by its sha256 is trained.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from trainer import own_code
from trainer.data import augment, own_data
from trainer.data_sets import DATA_SETS, DataSet
from trainer.modes import MODES
from trainer.modes import Role as Role
from trainer.networks.blocks import BatchNorm as BatchNorm
from trainer.networks.blocks import conv as conv
from trainer.networks.blocks import mark as mark
from trainer.networks.blocks import output as output
from trainer.networks.blocks import shortcut as shortcut
from trainer.networks.descriptions import NETWORKS, Description
from trainer.networks.descriptions import NetworkSpec as NetworkSpec
from trainer.own_code import CodeProblem
from trainer.probes import probes

_Definition = TypeVar("_Definition", bound=Callable[..., Any])
_ANY_DEPTH = range(1, 1_000_001)
_ANY_SIDE = (1, 4096)

TABLES: dict[str, dict[str, Any]] = {
    "networks": NETWORKS,
    "data_sets": DATA_SETS,
    "modes": MODES,
    "probes": probes.OWN,
    "augmentations": augment.OWN,
}
"""What code may define: the table that each kind of definition joins."""


@dataclass(frozen=True)
class Entry:
    """One definition, where it stands, and its record in the table."""

    kind: str
    name: str
    record: Any
    file: str
    line: int


_collecting: list[Entry] | None = None
"""What the code that is being imported has defined so far."""
_loaded: dict[str, tuple[Entry, ...]] = {}
"""By digest: code is imported once in a process."""
_active: tuple[str, tuple[Entry, ...]] = ("", ())
"""The digest in use, and its entries, which are in the tables now."""


# --- decorators ----------------------------------------------------------------------------------


def network(
    builder: Any = None,
    *,
    name: str = "",
    label: str = "",
    depths: Sequence[int] = _ANY_DEPTH,
    sides: tuple[int, int] = _ANY_SIDE,
) -> Any:
    """A class, or a function, that makes an `nn.Module` from a `NetworkSpec`.

    The module maps images [b, 3, side, side] fp32 to logits [b, spec.classes]. Its output layer is
    what `output` made, or else the last `nn.Linear` with `spec.classes` outputs. `spec.option(name,
    default)` reads the sweep's `options`. `depths` and `sides` (smallest, largest) are checked
    before anything starts; `label` stands in figures.
    """

    def define(builder: _Definition) -> _Definition:
        own = _snake(builder, name)
        record = Description(
            label or own,
            tuple(depths) if depths is not _ANY_DEPTH else depths,
            sides,
            lambda _: (),
            builder,
            own=True,
        )
        return _define("networks", own, record, builder)

    return define(builder) if builder else define


def mode(predicate: Any = None, *, name: str = "") -> Any:
    """A freezing mode: a function of a parameter's `Role` that says whether it trains."""

    def define(predicate: _Definition) -> _Definition:
        return _define("modes", _snake(predicate, name), predicate, predicate)

    return define(predicate) if predicate else define


def data_set(
    reader: Any = None, *, classes: int, side: int, train: int = 0, test: int = 0, name: str = ""
) -> Any:
    """A function (root, spec) that gives the training and the test images.

    Each is a pair (images, labels) or a map-style torch data set of such pairs. Images are square,
    `side` pixels: uint8 [n, side, side, 3], grey without the last axis, PIL images, or floats in
    [0, 1]; labels are integers below `classes`. `root` is the data folder. `train` and `test` are
    numbers of images, for the plan; 0: not known before they are read.
    """

    def define(reader: _Definition) -> _Definition:
        own = _snake(reader, name)
        read = own_data.reading(reader, own)
        return _define("data_sets", own, DataSet("code", classes, side, train, test, read), reader)

    return define(reader) if reader else define


def probe(function: Any = None, *, name: str = "") -> Any:
    """A function (model, batches) called once after training; leaves the model as it was.

    `batches` gives (images, labels) of test images. It returns numbers and arrays by name:
    numbers become metrics `trained/<probe>/<name>`, arrays lie in `artifacts/probes.npz`.
    """

    def define(function: _Definition) -> _Definition:
        return _define("probes", _snake(function, name), function, function)

    return define(function) if function else define


def augmentation(function: Any = None, *, name: str = "") -> Any:
    """A function (images [b, 3, side, side] fp32, generator) that gives images of the same shape.

    Its randomness comes from `generator` alone, which is a function of (seed, epoch, step).
    """

    def define(function: _Definition) -> _Definition:
        return _define("augmentations", _snake(function, name), function, function)

    return define(function) if function else define


def _snake(definition: Callable[..., Any], name: str) -> str:
    return name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", definition.__name__).lower()


def _define(kind: str, name: str, record: Any, definition: _Definition) -> _Definition:
    file, line = _place(definition)
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise CodeProblem(
            f"{name}: a name has a-z, 0-9 and _, and begins with a letter", file, line
        )
    taken = TABLES[kind].keys() - {entry.name for entry in _active[1] if entry.kind == kind}
    if name in taken:
        raise CodeProblem(
            f"{kind[:-1].replace('_', ' ')} {name} is built in; name yours otherwise", file, line
        )
    if _collecting is not None:
        if any((entry.kind, entry.name) == (kind, name) for entry in _collecting):
            raise CodeProblem(f"{name} is defined twice", file, line)
        _collecting.append(Entry(kind, name, record, file, line))
    return definition


def _place(definition: Callable[..., Any]) -> tuple[str, int]:
    try:
        return inspect.getsourcefile(definition) or "", inspect.getsourcelines(definition)[1]
    except (OSError, TypeError):
        return "", 0


# --- loading -------------------------------------------------------------------------------------


def load(path: Path) -> tuple[Entry, ...]:
    """Import the code at `path`, once in a process, and return what it defines.

    Raises CodeProblem with the line of the user's file that is at fault.
    """
    global _collecting
    sha256 = own_code.digest(path)
    if sha256 not in _loaded:
        _collecting = []
        try:
            _import(path, f"bnsweep_code_{sha256[:12]}")
            _loaded[sha256] = tuple(_collecting)
        finally:
            _collecting = None
    return _loaded[sha256]


def _import(path: Path, name: str) -> None:
    folder = [str(path)] if path.is_dir() else None
    file = path / "__init__.py" if path.is_dir() else path
    found = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folder)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # nothing beside the code
    try:
        found.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise blame(error, path) from error
    finally:
        sys.dont_write_bytecode = before


def blame(error: BaseException, path: Path) -> CodeProblem:
    """The error as a problem of the code at `path`, with the innermost of its lines."""
    if isinstance(error, CodeProblem):
        return error
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, SyntaxError):
        return CodeProblem(
            f"SyntaxError: {error.msg}", error.filename or "", error.lineno or 0, trace
        )
    own = [f for f in traceback.extract_tb(error.__traceback__) if _within(f.filename, path)]
    file, line = (own[-1].filename, own[-1].lineno or 0) if own else (str(path), 0)
    first = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
    return CodeProblem(f"{type(error).__name__}: {first}", file, line, trace)


def _within(file: str, path: Path) -> bool:
    return Path(file).is_relative_to(path) if path.is_dir() else Path(file) == path


def use(path: Path | None, sha256: str) -> None:
    """Let the tables hold what the code with this digest defines, and nothing of other code.

    Raises CodeProblem where `path` is missing or holds other code than the trial names.
    """
    global _active
    if _active[0] == sha256:
        return
    for entry in _active[1]:
        TABLES[entry.kind].pop(entry.name, None)
    _active = ("", ())
    if not sha256:
        return
    if path is None:
        raise CodeProblem(f"code: no file given for sha256 {sha256[:12]}…")
    if own_code.digest(path) != sha256:
        raise CodeProblem(
            f"code: {path} is other code than the trial names (sha256 {sha256[:12]}…)"
        )
    entries = load(path)
    for entry in entries:
        TABLES[entry.kind][entry.name] = entry.record
    _active = (sha256, entries)
