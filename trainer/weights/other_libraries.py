"""Networks of other libraries: `model: torchvision/NAME` and, where it is installed, `timm/NAME`.

`options` go to the library's constructor, except `resize`: the side in pixels that images are
brought to (bilinear) before the network sees them. The library's version is no part of a trial's
identity, as torch's own is not: it is recorded in the result, and a resume under a version that
draws other weights is caught by their digest.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.own_code import CodeProblem
from trainer.spec import TrialSpec, classes_of
from trainer.weights.own_network import checked


def build(spec: TrialSpec) -> nn.Module:
    """The library's network with an output for each class. Raises CodeProblem where it has none."""
    library, _, name = spec.model.partition("/")
    options = dict(spec.options)
    side = options.pop("resize", None)
    names, construct = _torchvision() if library == "torchvision" else _timm()
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {library}/{near[0]}?" if near else ""
        raise CodeProblem(f"model: {library} has no network {name}{hint}")
    try:
        model = construct(name, classes_of(spec), options)
    except (TypeError, ValueError) as error:
        raise CodeProblem(
            f"model: {spec.model} cannot be built with these options: {error}"
        ) from error
    if side is not None:
        if not isinstance(side, int) or not 8 <= side <= 1024:
            raise CodeProblem(
                f"options: resize: found {side}; allowed: a side from 8 to 1024 pixels"
            )
        model.register_forward_pre_hook(_resizing(side))
    return checked(model, spec)


_Construct = Callable[[str, int, dict[str, Any]], nn.Module]


def _torchvision() -> tuple[Sequence[str], _Construct]:
    from torchvision import models  # a second of imports

    names = models.list_models(module=models)
    return names, lambda name, classes, options: models.get_model(
        name, weights=None, num_classes=classes, **options
    )


def _timm() -> tuple[Sequence[str], _Construct]:
    try:
        import timm
    except ImportError as error:
        raise CodeProblem("model: timm is not installed: pip install timm") from error
    return timm.list_models(), lambda name, classes, options: timm.create_model(
        name, pretrained=False, num_classes=classes, **options
    )


def _resizing(side: int) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor]]:
    def resized(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        size = (side, side)
        return (F.interpolate(given[0], size=size, mode="bilinear", align_corners=False),)

    return resized
