"""What planning knows of networks that are not built in: what `trainer describe` said of them.

A plan asks once, for all trials of its sweep; the facts then hold in this process. Where nobody
has asked, as in a worker or a report, they are unknown, and nothing is asked for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.store.store import Store
from orchestrator.sweep import descriptions
from orchestrator.sweep.descriptions import CodeProblem, Description, Facts, Refused
from orchestrator.sweep.problems import code_error, one_line
from orchestrator.sweep.sweep_spec import SweepSpec
from trainer.modes import Counts
from trainer.spec import TrialSpec

_SHAPE = frozenset(
    {
        "code_sha256",
        "model",
        "depth",
        "width",
        "dataset",
        "data_id",
        "classes",
        "image_size",
        "trainable",
        "k",
        "options",
        "augmentation",
    }
)
"""What the facts of a trial depend on."""

UNKNOWN = Facts(
    counts=Counts(total=0, trainable=0, bn=0, output=0, shortcut=0),
    flops_per_image=0,
    activation_bytes_per_image=0,
)
_facts: dict[TrialSpec, Facts] = {}
_images: dict[tuple[str, str], int] = {}
"""Training images of a data set, by the code that defines it and its name."""


def facts(spec: TrialSpec) -> Facts:
    """Of a trial that is not built in; UNKNOWN where nobody has asked."""
    return _facts.get(_shape(spec), UNKNOWN)


def known(spec: TrialSpec) -> bool:
    """Whether a trial's costs are known: of all that is built in, and of what was asked for."""
    return not spec.own or _shape(spec) in _facts


def training_images(spec: TrialSpec) -> int:
    """Of the whole data set, where the user's code defines it and says so; else 0."""
    return _images.get((spec.code_sha256, spec.dataset), 0)


def learn(sweep: SweepSpec, store: Store) -> None:
    """Ask for what is not built in, and train two steps of each network and mode.

    Raises UserError with a line for each problem of the user's code.
    """
    shapes = list(dict.fromkeys(_shape(spec) for spec in sweep.trials if spec.own))
    if not shapes:
        return
    code = code_of(sweep, store)
    description = descriptions.ask(code, shapes, check=True, store=store.root)
    _refuse_problems(sweep, code, shapes, description)
    for shape, described in zip(shapes, description.trials, strict=True):
        if isinstance(described, Facts):
            _facts[shape] = described
    if sweep.code:
        for name, data in description.data_sets.items():
            _images[sweep.code.sha256, name] = data.train_images


def check_data(sweep: SweepSpec, store: Store, data: Path) -> None:
    """Read each data set that the user's code defines. Raises UserError as `learn` does."""
    code = code_of(sweep, store)
    names = descriptions.ask(code).data_sets if code else {}
    first = {spec.dataset: _shape(spec) for spec in reversed(sweep.trials) if spec.dataset in names}
    if first:
        shapes = list(first.values())
        description = descriptions.ask(code, shapes, check=True, data=data, store=store.root)
        _refuse_problems(sweep, code, shapes, description)


def code_of(sweep: SweepSpec, store: Store) -> Path | None:
    """Where the sweep's code lies: the store's copy once there is one; None: it has none.

    Raises UserError where neither that nor the file named is the code of its trials.
    """
    if sweep.code is None:
        return None
    kept = store.code(sweep.code.sha256)
    if kept is None and not sweep.code.unchanged:
        raise UserError(
            f"{sweep.code.place}: code: {sweep.code.path.name} was changed or removed since it was "
            f"read (sha256 {sweep.code.sha256[:12]}…), and {store.root} has no copy"
        )
    return kept or sweep.code.path


def _refuse_problems(
    sweep: SweepSpec, code: Path | None, shapes: Sequence[TrialSpec], description: Description
) -> None:
    lines = [_line(sweep, code, problem) for problem in description.problems]
    problems = list(description.problems)
    for shape, described in zip(shapes, description.trials, strict=False):
        if isinstance(described, Refused):
            problems.append(described.problem)
            lines.append(_line(sweep, code, described.problem, shape.model))
    if lines:
        error = UserError(*dict.fromkeys(lines))
        raise error from code_error(problem.traceback for problem in problems)


def _line(sweep: SweepSpec, code: Path | None, problem: CodeProblem, model: str = "") -> str:
    if sweep.code is None:
        place = sweep.filename or sweep.name
        named = f": {model}" if model else ""
        return one_line(f"{place}: model{named}: {problem.message}")
    # The store's copy has the digest for a name: a person knows the file by its own.
    text = problem.within(code)
    text = text.replace(code.name, sweep.code.path.name, 1) if code else text
    return one_line(f"{sweep.code.place}: code: {text}")


def network_of(spec: TrialSpec) -> TrialSpec:
    """What the parameters of a trial's network depend on, by name and shape."""
    return _shape(spec.changed(trainable="all", k=0, weights="random", weights_sha256=""))


@lru_cache(maxsize=4096)
def _shape(spec: TrialSpec) -> TrialSpec:
    fields = spec.identity_fields()
    return TrialSpec.model_validate({name: fields[name] for name in fields if name in _SHAPE})
