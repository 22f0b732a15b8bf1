"""What a trained network looks like inside: BatchNorm's γ and β, dead ReLUs, feature maps.

Measured once, after training, on the test images. The arrays go to `artifacts/probes.npz`, a
picture to `artifacts/feature_maps.png`, the scalars into the result's metrics as `trained/…` (all
shares and accuracies in %). Short trials measure on evenly spaced test images only, so that the
probes stay below 5 % of a trial's time; `images` and `trained/images` say on how many.
The prefix sorts after `test/` and `train/`: MLflow's chart page shows the curves first.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.data.splits import Data
from trainer.errors import SpecError
from trainer.files import write_atomically
from trainer.networks.roles import norm_of
from trainer.probes import activity
from trainer.probes.activity import Arrays
from trainer.probes.images import ProbeImages
from trainer.probes.pictures import picture
from trainer.results import FEATURE_MAPS, PROBES
from trainer.spec import TrialSpec, classes_of

Probe = Literal["bn", "pruning", "relu", "features", "classes", "own"]
ALL: tuple[Probe, ...] = get_args(Probe)
"""`own`: all that the user's code defines; one of those goes by its name, too."""

THRESHOLDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""|γ| below which γ is set to zero."""
CURVE = np.logspace(-4, 0, 81)
"""|γ| at which the share below is measured."""
QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
EDGES = np.linspace(-2, 2, 161)
"""Bins of the histograms; what lies outside is counted in the outermost bins."""
FEATURE_IMAGES, FEATURE_CHANNELS = 4, 16

OWN: dict[str, Callable[[nn.Module, Iterator[tuple[Tensor, Tensor]]], Mapping[str, Any]]] = {}
"""Probes that a user's code defines, by name, while a trial that names it is trained."""


def run(
    model: nn.Module,
    spec: TrialSpec,
    data: Data,
    device: torch.device,
    folder: Path,
    probes: Collection[str] = ALL,
) -> dict[str, float]:
    """Measure `probes` on `model`, which is left as it was, in eval mode; returns the scalars.

    `probes`: as in `check`. Writes into `folder`, the trial's `artifacts`.
    """
    start = time.perf_counter()
    model.eval()
    arrays: Arrays = {}
    scalars: dict[str, float] = {}
    layers = norms(model)
    if layers and "bn" in probes:
        arrays |= affine_arrays(layers)
        scalars |= affine_scalars(arrays)
    images = ProbeImages(spec, data, device, passes=_passes(layers, probes))
    if layers and "pruning" in probes:
        arrays |= prune(model, layers, images)
        scalars |= _pruning_scalars(arrays)
    if "relu" in probes or "classes" in probes:
        arrays |= activity.observe(model, images, classes_of(spec))
        scalars |= activity.scalars(arrays)
    if "features" in probes:
        arrays |= feature_maps(model, images)
        write_atomically(folder / FEATURE_MAPS, picture(arrays))
    for name, own in OWN.items():
        if not {name, "own"} & set(probes):
            continue
        for key, value in own(model, images.batches()).items():
            if np.ndim(value) == 0:
                scalars[f"trained/{name}/{key}"] = float(value)
            else:
                arrays[f"{name}_{key}"] = np.asarray(value)
    arrays |= {"images": np.array(images.count), "of_images": np.array(data.test.count)}
    arrays |= {"seconds": np.array(time.perf_counter() - start)}
    write_atomically(folder / PROBES, _packed(arrays))
    return {**scalars, "trained/images": float(images.count)}


def check(probes: Iterable[str]) -> None:
    """Raise SpecError for a name that is neither of `ALL` nor of a probe of the user's own."""
    if unknown := [name for name in probes if name not in ALL and name not in OWN]:
        known = ", ".join([*ALL, *OWN])
        raise SpecError(f"probes: found {', '.join(unknown)}; allowed: {known}")


# --- γ and β ------------------------------------------------------------------------------------


def norms(model: nn.Module) -> dict[str, Any]:
    """The normalisations that have a γ, by name, in the network's order."""
    modules = model.named_modules()
    return {n: m for n, m in modules if norm_of(m) and m.weight is not None}


def affine_arrays(layers: dict[str, Any]) -> Arrays:
    """γ and β themselves, and their quantiles and histograms for each layer and overall (last)."""
    arrays: Arrays = {
        "layers": np.array(list(layers)),
        "channels": np.array([layer.weight.numel() for layer in layers.values()]),
        "quantile_levels": np.array(QUANTILES),
        "edges": EDGES,
        "curve_thresholds": CURVE,
    }
    for name, attribute in (("gamma", "weight"), ("beta", "bias")):
        values = [_numbers(getattr(m, attribute, None), m.weight) for m in layers.values()]
        groups = [*values, np.concatenate(values)]
        arrays[name] = groups[-1]
        arrays[f"{name}_quantiles"] = np.array([np.quantile(v, QUANTILES) for v in groups])
        arrays[f"{name}_histogram"] = np.array([_histogram(v) for v in groups])
    sizes = np.sort(np.abs(arrays["gamma"]))
    arrays["curve"] = 100 * np.searchsorted(sizes, CURVE) / len(sizes)
    return arrays


def _numbers(parameter: Tensor | None, like: Tensor) -> NDArray[Any]:
    """The elements in a row; zeros where a normalisation has no β."""
    values = torch.zeros_like(like) if parameter is None else parameter
    return values.detach().float().cpu().numpy().reshape(-1)


def affine_scalars(arrays: Arrays) -> dict[str, float]:
    """Share of |γ| below each threshold, and moments of γ and β."""
    gamma, beta = arrays["gamma"], arrays["beta"]
    below = {
        f"trained/gamma_below_{t:g}": 100 * float((np.abs(gamma) < t).mean()) for t in THRESHOLDS
    }
    moments = {
        f"trained/{name}_{moment.__name__}": float(moment(values))
        for name, values in (("gamma", gamma), ("beta", beta))
        for moment in (np.mean, np.std)
    }
    return {**below, **moments}


def _histogram(values: NDArray[Any]) -> NDArray[Any]:
    return np.histogram(np.clip(values, EDGES[0], EDGES[-1]), EDGES)[0]


def prune(model: nn.Module, layers: dict[str, Any], images: ProbeImages) -> Arrays:
    """Test accuracy after setting γ to zero where |γ| is below each threshold, without training.

    Also the accuracy with nothing set to zero, on the same images.
    """
    gamma = torch.cat([layer.weight.detach().abs().flatten() for layer in layers.values()])
    known = {0: images.accuracy(model)}
    accuracies = []
    for threshold in THRESHOLDS:
        removed = int((gamma < threshold).sum())
        if removed not in known:
            with _pruned(layers, threshold):
                known[removed] = images.accuracy(model)
        accuracies.append(known[removed])
    return {
        "prune_thresholds": np.array(THRESHOLDS),
        "pruned_accuracy": np.array(accuracies),
        "unpruned_accuracy": np.array(known[0]),
    }


def _pruning_scalars(arrays: Arrays) -> dict[str, float]:
    pruned = zip(THRESHOLDS, arrays["pruned_accuracy"].tolist(), strict=True)
    return {
        "trained/accuracy_unpruned": float(arrays["unpruned_accuracy"]),
        **{f"trained/accuracy_pruned_{threshold:g}": accuracy for threshold, accuracy in pruned},
    }


@contextmanager
def _pruned(layers: dict[str, Any], threshold: float) -> Iterator[None]:
    before = [layer.weight.detach().clone() for layer in layers.values()]
    try:
        with torch.no_grad():
            for layer in layers.values():
                layer.weight[layer.weight.abs() < threshold] = 0.0
        yield
    finally:
        with torch.no_grad():
            for layer, weight in zip(layers.values(), before, strict=True):
                layer.weight.copy_(weight)


# --- feature maps -------------------------------------------------------------------------------


def feature_maps(model: nn.Module, images: ProbeImages) -> Arrays:
    """Outputs of the first and the last spatial convolution for the first test images.

    [images, channels, h, w] of up to 16 channels, evenly spaced, as float16.
    """
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size[0] > 1]
    if not convs:
        return {}
    inputs = next(iter(images.batches()))[0][:FEATURE_IMAGES]
    seen: dict[str, Tensor] = {}
    places = {"early": convs[0], "late": convs[-1]}
    hooks = [
        conv.register_forward_hook(lambda _m, _i, out, place=place: seen.update({place: out}))
        for place, conv in places.items()
    ]
    try:
        images.forward(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    arrays: Arrays = {"feature_inputs": inputs.cpu().numpy().astype(np.float16)}
    for place, out in seen.items():
        step = max(1, math.ceil(out.shape[1] / FEATURE_CHANNELS))
        arrays[f"features_{place}"] = out[:, ::step].float().cpu().numpy().astype(np.float16)
    return arrays


def _passes(layers: dict[str, Any], probes: Collection[str]) -> int:
    observing = 2 if {"relu", "classes"} & set(probes) else 0  # counting zeros costs a pass more
    pruning = 1 + len(THRESHOLDS) if layers and "pruning" in probes else 0
    return observing + pruning


# --- files --------------------------------------------------------------------------------------


def _packed(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
