"""What a user's own code defines, and what a network that is not built in counts.

Planning takes counts from layers where a network is built in; for others it asks this, through
`python -m trainer describe`, in a process of its own, and never loads the code itself.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from trainer import extend, freezing, own_code
from trainer.data import splits
from trainer.data_sets import data_set
from trainer.errors import TrainerError
from trainer.learner import Learner
from trainer.networks import roles
from trainer.own_code import CodeProblem
from trainer.spec import TrialSpec, classes_of, image_size_of
from trainer.weights import initial

_IMAGES = 2
"""In the batch that is counted: the fewest of which every normalisation has a variance."""
_RATE = 0.1


def describe(
    code: Path | None,
    specs: Sequence[dict[str, Any]],
    *,
    check: bool = False,
    data: Path | None = None,
) -> dict[str, Any]:
    """The definitions of `code`, and `trials`: counts or a `problem` for each of `specs`.

    `check` also trains two steps of each network and mode, and reads the code's data sets, where
    `data` says from where.
    """
    answer: dict[str, Any] = {kind: {} for kind in extend.TABLES}
    answer |= {"problems": [], "trials": []}
    try:
        if code is not None:
            for entry in extend.load(code):
                answer[entry.kind][entry.name] = _definition(entry)
            extend.use(code, own_code.digest(code))
    except CodeProblem as problem:
        answer["problems"].append(_as_json(problem))
        return answer
    checks = _Checks(data) if check else None
    for fields in specs:
        answer["trials"].append(_trial(code, fields, checks))
    return answer


class _Checks:
    """Runs each check once, however many trials need it."""

    def __init__(self, data: Path | None) -> None:
        self._data = data
        self._done: set[tuple[str, ...]] = set()

    def run(self, spec: TrialSpec) -> None:
        if self._first("steps", spec.model, spec.trainable):
            _check_steps(spec)
        own_data = data_set(spec.dataset).storage == "code"
        if own_data and self._data is not None and self._first("data", spec.dataset):
            splits.load(spec, self._data)

    def _first(self, *what: str) -> bool:
        new = what not in self._done
        self._done.add(what)
        return new


def _definition(entry: extend.Entry) -> dict[str, Any]:
    record, described = entry.record, {"file": entry.file, "line": entry.line}
    if entry.kind == "networks":
        depths = record.depths
        few = [depths.start, depths.stop - 1] if isinstance(depths, range) else None
        described |= {"label": record.label, "sides": list(record.sides)}
        described |= {"depths": None if few else list(depths)}
    if entry.kind == "data_sets":
        names = ("classes", "side", "train_images", "test_images")
        described |= {name: getattr(record, name) for name in names}
    return described


def _trial(code: Path | None, fields: dict[str, Any], checks: _Checks | None) -> dict[str, Any]:
    try:
        spec = TrialSpec.model_validate(fields, strict=False)
        _check_names(spec)
        counts = _counted(spec)
        if checks is not None:
            checks.run(spec)
        return counts
    except Exception as error:  # whatever the code does wrong is for its author to read
        problem = extend.blame(error, code) if code else _plain(error, fields)
        return {"problem": _as_json(problem)}


def _check_names(spec: TrialSpec) -> None:
    named = {"networks": "model", "data_sets": "dataset", "modes": "trainable"}
    if spec.augmentation:
        named["augmentations"] = "augmentation"
    for kind, field in named.items():
        name, table = getattr(spec, field), extend.TABLES[kind]
        if name not in table and "/" not in name:
            near = difflib.get_close_matches(name, table, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise CodeProblem(f"{field}: {name} is not built in, and the code has none{hint}")


def _plain(error: Exception, fields: dict[str, Any]) -> CodeProblem:
    if isinstance(error, CodeProblem | TrainerError):
        return error if isinstance(error, CodeProblem) else CodeProblem(str(error))
    given = dict(fields.get("options") or {})
    about_size = re.search("size|height|width|resolution", str(error), re.IGNORECASE)
    hint = "; options: {resize: 224} gives it images of that side" if about_size else ""
    return CodeProblem(repr(error) + (hint if "resize" not in given else ""))


def _as_json(problem: CodeProblem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in ("message", "file", "line", "traceback")}


# --- counts --------------------------------------------------------------------------------------


def _counted(spec: TrialSpec) -> dict[str, Any]:
    """Parameters by role, operations and kept bytes of one image, bytes of a checkpoint."""
    network = initial.prepare(spec)
    trained = network.trained.count(network.model)
    if not trained and spec.trainable != "nothing":
        kinds = sorted({role.kind for role in roles.roles_of(network.model).values()})
        raise CodeProblem(
            f"trainable: {spec.trainable} trains no parameter of network {spec.model}, whose roles "
            f"are {', '.join(kinds)}"
        )
    counts = roles.counts(network.model, trained)
    kept = _Kept(network.model)
    forward, labels = _batch(spec)
    with FlopCounterMode(display=False) as flops, kept.hooks():
        loss = F.cross_entropy(_logits(network.model, forward, spec), labels)
    operations = flops.get_total_flops()
    with FlopCounterMode(display=False) as flops:
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
    statistics = sum(buffer.numel() for buffer in network.model.buffers())
    return {
        "counts": counts.model_dump(),
        "flops_per_image": operations // _IMAGES,
        "backward_flops_per_image": flops.get_total_flops() // _IMAGES,
        "activation_bytes_per_image": kept.bytes // _IMAGES,
        "statistics": statistics,
    }


class _Kept:
    """Bytes that the forward pass keeps for the backward pass, parameters not counted."""

    def __init__(self, model: nn.Module) -> None:
        self.bytes = 0
        self._known = {parameter.data_ptr() for parameter in model.parameters()}

    def hooks(self) -> saved_tensors_hooks:
        return saved_tensors_hooks(self._note, lambda tensor: tensor)

    def _note(self, tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in self._known:
            self._known.add(tensor.data_ptr())
            self.bytes += tensor.numel() * tensor.element_size()
        return tensor


def _batch(spec: TrialSpec) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    side = image_size_of(spec)
    images = torch.randn(_IMAGES, 3, side, side, generator=draw)
    return images, torch.arange(_IMAGES) % classes_of(spec)


def _logits(model: Callable[[Tensor], Any], images: Tensor, spec: TrialSpec) -> Tensor:
    logits, expected = model(images), (len(images), classes_of(spec))
    if not isinstance(logits, Tensor) or logits.shape != expected:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise CodeProblem(
            f"network {spec.model}: gives {shape} for {len(images)} images; allowed: logits of "
            f"shape {expected}"
        )
    if not torch.isfinite(logits).all():
        raise CodeProblem(f"network {spec.model}: its first logits are not finite")
    return logits


# --- two steps -----------------------------------------------------------------------------------


def _check_steps(spec: TrialSpec) -> None:
    """Two real steps: the freeze holds, the loss is finite, and the seed alone decides."""
    first, second = _two_steps(spec), _two_steps(spec)
    if first != second:
        raise CodeProblem(
            f"network {spec.model}: two steps from one seed gave different numbers; draw from "
            "torch's global generator, which is seeded for each step, or from none"
        )


def _two_steps(spec: TrialSpec) -> str:
    learner = Learner(spec, torch.device("cpu"))
    images, labels = _batch(spec)
    learner.model.train()
    for step in (1, 2):
        loss, _ = learner.step(images, labels, _RATE, step - 1)
        if not torch.isfinite(loss):
            raise CodeProblem(f"network {spec.model}: the loss is {loss.item()} in step {step}")
    freezing.prove(learner.initial, learner.model, learner.trained)
    return learner.final_digest()
