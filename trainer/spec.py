"""What a trial is: one frozen, flat record, and the identity computed from it (DESIGN §4).

No torch here: planning imports this module on machines that have none.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

IDENTITY_VERSION = 1
"""Raised only when the same spec would train to other numbers."""

Model = Literal["cifar_resnet", "cifar_vgg", "imagenet_resnet", "bottleneck_resnet"]
Dataset = Literal["digits", "cifar10", "cifar100", "imagenet", "image_folder", "synthetic"]
Trainable = Literal[
    "all",
    "bn_only",
    "output_only",
    "bn_output",
    "shortcut_only",
    "shortcut_output",
    "bn_shortcut_output",
    "all_but_bn",
    "random_k",
    "gamma_only",
    "beta_only",
    "bias_only",
    "nothing",
]
Init = Literal["kaiming_normal", "kaiming_uniform", "binary", "orthogonal", "glorot_uniform"]
BnInit = Literal["uniform", "fixed", "oneone", "positivenegative"]
Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["step", "cosine", "cosine_restarts", "exponential", "constant"]
Normalisation = Literal["imagenet", "none"]
Precision = Literal["fp32", "bf16"]

IMAGENET_DEPTHS = (18, 34, 50, 101, 152, 200)
VGG_DEPTHS = (11, 13, 16, 19)
CLASSES: dict[str, int] = {
    "digits": 10,
    "cifar10": 10,
    "cifar100": 100,
    "imagenet": 1000,
    "synthetic": 10,
}
IMAGE_SIZE: dict[str, int] = {"digits": 8, "cifar10": 32, "cifar100": 32, "synthetic": 32}

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class TrialSpec(BaseModel):
    """Everything that decides a trial's numbers, and nothing else.

    Paths, devices, threads and retries stay out: how a trial was computed is recorded in its
    result. A new field needs a default that changes nothing, so that all ids stay as they were.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    model: Model = "cifar_resnet"
    depth: Positive = 14
    width: Positive = 1
    dataset: Dataset = "cifar10"
    data_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    classes: NonNegative = 0
    image_size: NonNegative = 0
    train_subset: NonNegative = 0
    trainable: Trainable = "all"
    k: NonNegative = 0
    seed: NonNegative = 0
    init: Init = "kaiming_normal"
    bn_init: BnInit = "uniform"
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    bn_eps: Annotated[float, Field(gt=0)] = 1e-5
    weights: Literal["random", "pretrained"] = "random"
    weights_sha256: Sha256 = ""
    epochs: NonNegative = 160
    batch_size: Positive = 128
    optimizer: Optimizer = "sgd"
    lr: Annotated[float, Field(ge=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    schedule: Schedule = "step"
    milestones: Annotated[tuple[Positive, ...], BeforeValidator(_tuple)] = ()
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 0.1
    restart_epochs: NonNegative = 0
    warmup_epochs: NonNegative = 0
    crop_padding: NonNegative = 4
    flip: bool = True
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    normalisation: Normalisation = "imagenet"
    precision: Precision = "fp32"
    deterministic: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fill_milestones(cls, data: Any) -> Any:
        """Without `milestones`, a step schedule has the paper's: at 1/2 and 3/4 of the epochs."""
        if isinstance(data, dict) and "milestones" not in data:
            schedule, epochs = data.get("schedule", "step"), data.get("epochs", 160)
            if schedule == "step" and isinstance(epochs, int):
                return {**data, "milestones": default_milestones(epochs)}
        return data

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if problems := cross_field_problems(self):
            raise ValueError("\n".join(problems))
        return self

    def changed(self, **fields: Any) -> TrialSpec:
        """A new spec with `fields` replaced, validated again (default milestones follow epochs)."""
        kept = self.identity_fields()
        return TrialSpec.model_validate({**kept, **fields})

    def identity_fields(self) -> dict[str, Any]:
        """The fields that differ from the global defaults, in order of declaration."""
        default = TrialSpec.model_fields
        fields = {name: value for name, value in self if value != default[name].default}
        if self.schedule == "step" and self.milestones == default_milestones(self.epochs):
            fields.pop("milestones", None)
        elif self.schedule == "step" and not self.milestones:
            fields["milestones"] = ()  # spelled out: a step schedule that never steps
        return fields

    @property
    def config_id(self) -> str:
        """Readable slug and hash of the configuration: the trial without its seed."""
        return f"{self._slug()}-{self._hash(without_seed=True)}"

    @property
    def trial_id(self) -> str:
        """Slug and hash of all that changes results: `cifar_resnet-d14-w1-bn_only-s0-3fa29c1b`."""
        return f"{self._slug()}-s{self.seed}-{self._hash(without_seed=False)}"

    def _slug(self) -> str:
        mode = f"random_{self.k}" if self.trainable == "random_k" else self.trainable
        return f"{self.model}-d{self.depth}-w{self.width}-{mode}"

    def _hash(self, *, without_seed: bool) -> str:
        fields = self.identity_fields()
        if without_seed:
            fields.pop("seed", None)
        payload = json.dumps([IDENTITY_VERSION, fields], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(payload.encode()).hexdigest()[:8]


def default_milestones(epochs: int) -> tuple[int, ...]:
    """The paper's step schedule scaled: 160 epochs give (80, 120), 2 give (1,), 1 gives ()."""
    return tuple(sorted({epochs // 2, epochs * 3 // 4} - {0, epochs}))


def classes_of(spec: TrialSpec) -> int:
    """Number of classes, which is also the length of the output layer."""
    return spec.classes or CLASSES.get(spec.dataset, 0)


def image_size_of(spec: TrialSpec) -> int:
    """Side of the square input images in pixels."""
    return spec.image_size or IMAGE_SIZE.get(spec.dataset, 224)


def cross_field_problems(spec: TrialSpec) -> list[str]:
    """What is wrong with fields taken together, each line beginning with the field's name."""
    problems = []
    if hint := depth_problem(spec.model, spec.depth):
        problems.append(f"depth: {hint}")
    if spec.trainable == "random_k" and spec.k == 0:
        problems.append(
            "k: trainable: random_k needs k, the trained weights of each output channel (paper: 2)"
        )
    if spec.trainable != "random_k" and spec.k:
        problems.append(f"k: only means something with trainable: random_k, not {spec.trainable}")
    if spec.milestones and spec.schedule != "step":
        problems.append(f"milestones: only mean something with schedule: step, not {spec.schedule}")
    late = [m for m in spec.milestones if not 0 < m < max(spec.epochs, 1)]
    if late:
        problems.append(
            f"milestones: {late[0]} is not within the {spec.epochs} epochs; "
            "leave milestones out to have the paper's at 1/2 and 3/4"
        )
    return problems + _schedule_problems(spec) + _other_problems(spec)


def _schedule_problems(spec: TrialSpec) -> list[str]:
    """A schedule whose length does not fit the epochs would end as a plateau or midway."""
    problems = []
    decaying = spec.epochs - spec.warmup_epochs
    if spec.warmup_epochs and decaying <= 0:
        problems.append(
            f"warmup_epochs: {spec.warmup_epochs} leaves nothing of the {spec.epochs} epochs"
        )
    if spec.schedule != "cosine_restarts":
        if spec.restart_epochs:
            problems.append(
                "restart_epochs: only means something with schedule: cosine_restarts, "
                f"not {spec.schedule}"
            )
    elif spec.restart_epochs == 0:
        problems.append("restart_epochs: schedule: cosine_restarts needs the length of a period")
    elif decaying > 0 and decaying % spec.restart_epochs:
        problems.append(
            f"restart_epochs: {spec.restart_epochs} does not divide the {decaying} epochs "
            "after warm-up, the last period would be cut"
        )
    return problems


def _other_problems(spec: TrialSpec) -> list[str]:
    problems = []
    if spec.nesterov and (spec.optimizer != "sgd" or spec.momentum == 0):
        problems.append("nesterov: only means something with optimizer: sgd and a momentum above 0")
    if spec.dataset == "image_folder" and not (spec.data_id and spec.classes):
        missing = "data_id" if not spec.data_id else "classes"
        problems.append(
            f"{missing}: dataset: image_folder needs data_id (the name of its folder "
            "under the data folder) and classes (their number)"
        )
    if spec.data_id and spec.dataset not in ("image_folder", "imagenet"):
        problems.append(
            f"data_id: only means something with a folder of images, not {spec.dataset}"
        )
    return problems


def depth_problem(model: str, depth: int) -> str:
    """Why `depth` is impossible for `model`, and the nearest possible ones; empty if it is fine."""
    if model == "cifar_resnet":
        if depth >= 8 and (depth - 2) % 6 == 0:
            return ""
        below = max(8, (depth - 2) // 6 * 6 + 2)
        return f"{depth} is not 6D+2 (cifar_resnet); the nearest are {below} and {below + 6}"
    if model == "bottleneck_resnet":
        if depth >= 11 and (depth - 2) % 9 == 0:
            return ""
        below = max(11, (depth - 2) // 9 * 9 + 2)
        return f"{depth} is not 9n+2 (bottleneck_resnet); the nearest are {below} and {below + 9}"
    allowed = VGG_DEPTHS if model == "cifar_vgg" else IMAGENET_DEPTHS
    if depth in allowed:
        return ""
    return f"{depth} is not a depth of {model}; allowed: {', '.join(map(str, allowed))}"
