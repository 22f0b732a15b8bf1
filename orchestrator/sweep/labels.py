"""Short names of a sweep's trials: what differs among them, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.spec import TrialSpec


def labels(specs: Sequence[TrialSpec]) -> dict[str, str]:
    """A short name for each trial, from the fields in which they differ: `d14 bn_only s0`.

    A network of a library has no depth, but a name: `torchvision/vit_b_16 norm_only s0`.
    """
    fields = [
        spec.identity_fields() for spec in specs
    ]  # milestones that follow epochs are left out
    varied = [
        name
        for name in TrialSpec.model_fields
        if name not in ("depth", "trainable", "k", "seed")
        and len({repr(each.get(name)) for each in fields}) > 1
    ]
    return {spec.trial_id: _label(spec, varied) for spec in specs}


def without_seed(label: str, spec: TrialSpec) -> str:
    """The configuration's part of a trial's short name: `d14 bn_only`."""
    return label.removesuffix(f" s{spec.seed}")


def _label(spec: TrialSpec, varied: Sequence[str]) -> str:
    of_library = "/" in spec.model
    others = []
    for name in varied:
        if name == "model" and of_library:
            continue
        text = field_text(spec, name)
        if name == "width":
            text = f"w{text}"
        elif name != "options":
            text = f"{name}={text}"
        others.append(text)
    return " ".join(
        [spec.model if of_library else f"d{spec.depth}", spec.mode, *others, f"s{spec.seed}"]
    )


def field_text(spec: TrialSpec, name: str) -> str:
    """The value of a field; options as `heads=4 fast=True`."""
    if name == "options":
        return " ".join(f"{option}={value}" for option, value in spec.options) or "none"
    return str(getattr(spec, name))
