"""What a trial is: one frozen, flat record, and the identity computed from it.

No torch here: planning imports this module on machines that have none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from trainer.data_sets import DATA_SETS, FOLDER_SIDE, data_set
from trainer.modes import MODES, RANDOM_K, needs_shortcuts
from trainer.networks import descriptions
from trainer.networks.descriptions import DEEPEST, NETWORKS, Layers, NetworkSpec

IDENTITY_VERSION = 1
"""Raised only when the same spec would train to other numbers."""

Init = Literal["kaiming_normal", "kaiming_uniform", "binary", "orthogonal", "glorot_uniform"]
BnInit = Literal["uniform", "fixed", "oneone", "positivenegative"]
Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["step", "cosine", "cosine_restarts", "exponential", "constant"]
Normalisation = Literal["imagenet", "none"]
Precision = Literal["fp32", "bf16"]


_OWN_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
LIBRARIES = ("torchvision", "timm")
"""Packages whose networks have names of their own: `model: torchvision/resnet18`."""
_LIBRARY_NAME = re.compile(rf"(?:{'|'.join(LIBRARIES)})/[a-z0-9][a-z0-9_.]{{0,63}}")


class NameIn:
    """Annotates a field whose value names an entry of `table`, which may grow at run time.

    With `code_sha256` it may be any name: the code that the spec names says what it means.
    """

    def __init__(self, table: Mapping[str, object]) -> None:
        self.table = table

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.with_info_after_validator_function(self._known, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.table)}

    def _known(self, name: str, info: ValidationInfo) -> str:
        own = info.data.get("code_sha256") and _OWN_NAME.fullmatch(name)
        library = self.table is NETWORKS and _LIBRARY_NAME.fullmatch(name)
        if name not in self.table and not own and not library:
            allowed = ", ".join(self.table)
            raise PydanticCustomError("unknown_name", "allowed: {allowed}", {"allowed": allowed})
        return name


Model = Annotated[str, NameIn(NETWORKS)]
Dataset = Annotated[str, NameIn(DATA_SETS)]
Trainable = Annotated[str, NameIn(MODES)]

MAX_EPOCHS = 100_000
MAX_IMAGES = 100_000_000
"""Of a training set."""
MAX_BATCH = 2_000_000
"""Images: all of ImageNet."""
MAX_SIDE = 10_000
"""Pixels."""
MAX_WIDTH = 1000
MAX_CLASSES = 1_000_000
MAX_K = 1_000_000
# Nobody trains what is larger, and whatever counts, plans or draws is spared it.

NonNegative = Annotated[int, Field(ge=0)]
Epochs = Annotated[int, Field(ge=0, le=MAX_EPOCHS)]
Side = Annotated[int, Field(ge=0, le=MAX_SIDE)]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Scalar = bool | int | float | str
OptionName = Annotated[str, Field(pattern=rf"^{_OWN_NAME.pattern}$")]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _pairs(value: Any) -> Any:
    """A mapping as its pairs, ascending by name."""
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, list | tuple):
        return value
    return tuple(tuple(p) if isinstance(p, list) else p for p in sorted(pairs, key=str))


class TrialSpec(BaseModel):
    """Everything that decides a trial's numbers, and nothing else.

    Paths, devices, threads and retries stay out: how a trial was computed is recorded in its
    result. A new field needs a default that changes nothing, so that all ids stay as they were.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    code_sha256: Sha256 = ""
    """Of the user's own code, which may define what `model`, `dataset`, `trainable` and
    `augmentation` name; empty: none."""
    model: Model = "cifar_resnet"
    depth: Annotated[int, Field(ge=1, le=DEEPEST)] = 14
    width: Annotated[int, Field(ge=1, le=MAX_WIDTH)] = 1
    dataset: Dataset = "cifar10"
    data_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    classes: Annotated[int, Field(ge=0, le=MAX_CLASSES)] = 0
    image_size: Side = 0
    shorter_side: Side = 0
    train_subset: Annotated[int, Field(ge=0, le=MAX_IMAGES)] = 0
    validation: Annotated[int, Field(ge=0, le=MAX_IMAGES)] = 0
    """So many training images, the same for every trial of a data set, are never trained on and
    evaluated beside the test images; a `train_subset` is of the others."""
    trainable: Trainable = "all"
    k: Annotated[int, Field(ge=0, le=MAX_K)] = 0
    seed: NonNegative = 0
    init: Init = "kaiming_normal"
    bn_init: BnInit = "uniform"
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    bn_eps: Annotated[float, Field(gt=0)] = 1e-5
    weights: Literal["random", "pretrained"] = "random"
    weights_sha256: Sha256 = ""
    epochs: Epochs = 160
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 128
    bn_batch: Annotated[int, Field(ge=0, le=MAX_BATCH)] = 0
    """So many consecutive images of a batch share BatchNorm's statistics while training, and the
    first such group moves the running ones; 0: the whole batch."""
    optimizer: Optimizer = "sgd"
    lr: Annotated[float, Field(ge=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    schedule: Schedule = "step"
    milestones: Annotated[
        tuple[Annotated[int, Field(ge=1, le=MAX_EPOCHS)], ...], BeforeValidator(_tuple)
    ] = ()
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 0.1
    restart_epochs: Epochs = 0
    warmup_epochs: Epochs = 0
    crop_padding: Side = 4
    crop_scale: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The least share of an image's area that a random crop has; of folders of images."""
    flip: bool = True
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    normalisation: Normalisation = "imagenet"
    precision: Precision = "fp32"
    deterministic: bool = False
    options: Annotated[
        tuple[tuple[OptionName, Scalar], ...],
        BeforeValidator(_pairs),
        PlainSerializer(dict, return_type=dict[str, Scalar]),
    ] = ()
    """Further values for a network or a data set of the user's own, by name."""
    augmentation: Annotated[str, Field(pattern=rf"^({_OWN_NAME.pattern})?$")] = ""
    """One of the user's own, after the crops and flips; empty: none."""

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
            raise RulesError(problems)
        return self

    def changed(self, **fields: Any) -> TrialSpec:
        """A new spec with `fields` replaced, validated again (default milestones follow epochs)."""
        kept = self.identity_fields()
        return TrialSpec.model_validate({**kept, **fields})

    def identity_fields(self) -> dict[str, Any]:
        """The fields that differ from the global defaults, in order of declaration."""
        fields = {name: value for name, value in self if value != _defaults()[name]}
        if self.schedule == "step" and self.milestones == default_milestones(self.epochs):
            fields.pop("milestones", None)
        elif self.schedule == "step" and not self.milestones:
            fields["milestones"] = ()  # spelled out: a step schedule that never steps
        if self.bn_batch == self.batch_size:
            fields.pop("bn_batch", None)  # spelled out: the whole batch is one group
        return fields

    @property
    def group_size(self) -> int:
        """Images that share BatchNorm's statistics in a step; a short batch's last group is
        shorter."""
        return self.bn_batch or self.batch_size

    @property
    def groups(self) -> int:
        """Groups of images of a whole batch that share BatchNorm statistics."""
        return self.batch_size // self.group_size

    @property
    def own(self) -> bool:
        """Whether what it trains is not built in: planning must ask who can build it."""
        return bool(self.code_sha256) or "/" in self.model

    @property
    def mode(self) -> str:
        """The freezing mode as shown: `random_k` with its k (`random_2`)."""
        return f"random_{self.k}" if self.trainable == RANDOM_K else self.trainable

    @property
    def config_id(self) -> str:
        """Readable slug and hash of the configuration: the trial without its seed."""
        return f"{self._slug()}-{self._hash(without_seed=True)}"

    @property
    def trial_id(self) -> str:
        """Slug and hash of all that changes results: `cifar_resnet-d14-w1-bn_only-s0-3fa29c1b`."""
        return f"{self._slug()}-s{self.seed}-{self._hash(without_seed=False)}"

    def _slug(self) -> str:
        if "/" in self.model:
            return f"{self.model.replace('/', '-')}-{self.mode}"
        return f"{self.model}-d{self.depth}-w{self.width}-{self.mode}"

    def _hash(self, *, without_seed: bool) -> str:
        fields = self.identity_fields()
        if without_seed:
            fields.pop("seed", None)
        payload = json.dumps([IDENTITY_VERSION, fields], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(payload.encode()).hexdigest()[:8]


@cache
def _defaults() -> dict[str, Any]:
    return {name: field.default for name, field in TrialSpec.model_fields.items()}


def default_milestones(epochs: int) -> tuple[int, ...]:
    """The paper's step schedule scaled: 160 epochs give (80, 120), 2 give (1,), 1 gives ()."""
    return tuple(sorted({epochs // 2, epochs * 3 // 4} - {0, epochs}))


def classes_of(spec: TrialSpec) -> int:
    """Number of classes, which is also the length of the output layer."""
    return spec.classes or data_set(spec.dataset).classes


def image_size_of(spec: TrialSpec) -> int:
    """Side of the square input images in pixels."""
    return spec.image_size or data_set(spec.dataset).side or FOLDER_SIDE


def network_of(spec: TrialSpec) -> NetworkSpec:
    """What the spec's network is built from."""
    return NetworkSpec(
        depth=spec.depth,
        width=spec.width,
        classes=classes_of(spec),
        side=image_size_of(spec),
        bn_eps=spec.bn_eps,
        bn_momentum=spec.bn_momentum,
        options=spec.options,
    )


def layers_of(spec: TrialSpec) -> Layers:
    """The layers of the spec's network, in the order of its forward pass, each with its times."""
    return descriptions.layers_of(spec.model, network_of(spec))


class RulesError(ValueError):
    """Fields of a trial that do not go together: the field and what is wrong with it, each."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("\n".join(f"{field}: {message}" for field, message in problems))
        self.problems = tuple(problems)


def cross_field_problems(spec: TrialSpec) -> list[tuple[str, str]]:
    """What is wrong with fields taken together: field and message."""
    hint = depth_problem(spec.model, spec.depth)
    return [
        *([("depth", hint)] if hint else []),
        *_own_problems(spec),
        *_mode_problems(spec),
        *_data_problems(spec),
        *_batch_problems(spec),
        *_schedule_problems(spec),
        *_weights_problems(spec),
    ]


def _own_problems(spec: TrialSpec) -> Iterator[tuple[str, str]]:
    """Of what is not built in."""
    if "/" in spec.model:
        for field in ("depth", "width"):
            if getattr(spec, field) != TrialSpec.model_fields[field].default:
                yield field, f"{spec.model} has its own; leave it out"
    if spec.options and not spec.own:
        yield "options", "only mean something to a network or data set that is not built in"
    if spec.augmentation and not spec.code_sha256:
        yield "augmentation", "needs code: FILE, which defines it"


def _mode_problems(spec: TrialSpec) -> Iterator[tuple[str, str]]:
    if spec.model not in NETWORKS or NETWORKS[spec.model].own:
        if spec.trainable == RANDOM_K and not spec.k:
            yield "k", "random_k needs k, the weights that train in each output channel (paper: 2)"
        return
    if spec.trainable == RANDOM_K:
        limit = _fewest_weights_of_a_channel(spec)
        if not spec.k:
            yield "k", "random_k needs k, the weights that train in each output channel (paper: 2)"
        elif spec.k > limit:
            all_weights = f"up to {limit}, all weights of the smallest channels"
            yield "k", f"found {spec.k}; allowed: {all_weights}"
    elif spec.k:
        yield "k", f"only means something with trainable: random_k, not {spec.trainable}"
    if needs_shortcuts(spec.trainable) and not any(layer.shortcut for layer, _ in _layers(spec)):
        yield "trainable", f"{spec.trainable} needs shortcuts, and {spec.model} has none"


def _fewest_weights_of_a_channel(spec: TrialSpec) -> int:
    """The weights of one output channel in the convolution where these are fewest."""
    convolutions = (layer for layer, _ in _layers(spec) if layer.kind == "conv")
    return min(layer.inputs * layer.kernel**2 for layer in convolutions)


def _layers(spec: TrialSpec) -> Layers:
    """The network's layers; those of its smallest depth where the spec's is impossible."""
    depths, network = NETWORKS[spec.model].depths, network_of(spec)
    possible = network if spec.depth in depths else replace(network, depth=depths[0])
    return descriptions.layers_of(spec.model, possible)


def _data_problems(spec: TrialSpec) -> Iterator[tuple[str, str]]:
    name, data = spec.dataset, data_set(spec.dataset)
    if spec.data_id in (".", ".."):
        yield "data_id", f"found {spec.data_id!r}; allowed: the name of a folder in the data folder"
    if data.storage == "folder" and not data.classes:
        if not spec.data_id:
            yield "data_id", f"{name} needs it: the name of its folder in the data folder"
        if spec.classes < 2:
            yield "classes", f"{name} needs the number of classes, at least 2"
    elif not data.flexible and name in DATA_SETS:
        for field in ("classes", "image_size", "data_id"):
            if getattr(spec, field):
                yield field, f"is given by dataset: {name}; leave it out"
    if spec.shorter_side and data.storage != "folder":
        yield "shorter_side", f"only means something for folders of images, not {name}"
    elif 0 < spec.shorter_side < image_size_of(spec):
        allowed = f"0 (as they are), or at least the image_size of {image_size_of(spec)}"
        yield "shorter_side", f"found {spec.shorter_side}; allowed: {allowed}"
    if spec.crop_scale != _defaults()["crop_scale"] and data.storage != "folder":
        yield "crop_scale", f"only means something for folders of images, not {name}"
    made = data.storage == "generated" and spec.train_subset  # as many images as it takes
    yield from image_problems(spec, 0 if made else data.train_images, classes_of(spec))
    if name not in DATA_SETS or spec.model not in NETWORKS:
        return
    size, (low, high) = image_size_of(spec), NETWORKS[spec.model].sides
    if not low <= size <= high:
        field = "image_size" if spec.image_size or not data.side else "dataset"
        yield (
            field,
            f"found images of {size}x{size} pixels; allowed for {spec.model}: "
            f"{low}x{low} to {high}x{high}",
        )


def image_problems(spec: TrialSpec, images: int, classes: int) -> Iterator[tuple[str, str]]:
    """Whether a data set of so many training images and classes (0: not known) has as many as the
    spec trains on and keeps for validation."""
    name, kept = spec.dataset, spec.validation
    if spec.train_subset > images > 0:
        yield "train_subset", f"found {spec.train_subset}; allowed: up to the {images} of {name}"
    elif 0 < kept < classes:
        yield "validation", f"found {kept}; allowed: 0, or at least {classes}, one for each class"
    elif images and kept > (most := images - (spec.train_subset or classes)):
        why = f"beside train_subset: {spec.train_subset}"
        why = why if spec.train_subset else "so that each class keeps one to train on"
        yield "validation", f"found {kept}; allowed: up to {most} of the {images} of {name}, {why}"


def _batch_problems(spec: TrialSpec) -> Iterator[tuple[str, str]]:
    if spec.bn_batch and spec.batch_size % spec.bn_batch:
        divisor = f"0 (the whole batch) or a divisor of batch_size ({spec.batch_size})"
        yield "bn_batch", f"found {spec.bn_batch}; allowed: {divisor}"


def _schedule_problems(spec: TrialSpec) -> Iterator[tuple[str, str]]:
    if spec.milestones and spec.schedule != "step":
        yield "milestones", f"only mean something with schedule: step, not {spec.schedule}"
    elif late := [m for m in spec.milestones if m >= max(spec.epochs, 1)]:
        yield (
            "milestones",
            f"found {late[0]}; allowed: within the {spec.epochs} epochs "
            "(left out: the paper's at 1/2 and 3/4)",
        )
    if list(spec.milestones) != sorted(set(spec.milestones)):
        yield "milestones", f"found {list(spec.milestones)}; allowed: an ascending list"
    if spec.lr_decay != 0.1 and spec.schedule not in ("step", "exponential"):
        yield "lr_decay", f"only means something with step or exponential, not {spec.schedule}"
    if spec.warmup_epochs and spec.warmup_epochs >= spec.epochs:
        yield "warmup_epochs", f"found {spec.warmup_epochs}; allowed: below epochs ({spec.epochs})"
    yield from _restart_problems(spec)
    if spec.nesterov and (spec.optimizer != "sgd" or not spec.momentum):
        yield "nesterov", "only means something with optimizer: sgd and a momentum"


def _restart_problems(spec: TrialSpec) -> Iterator[tuple[str, str]]:
    decaying, period = spec.epochs - spec.warmup_epochs, spec.restart_epochs
    if spec.schedule != "cosine_restarts":
        if period:
            yield "restart_epochs", f"only mean something with cosine_restarts, not {spec.schedule}"
    elif not period:
        yield "restart_epochs", "schedule: cosine_restarts needs the epochs between restarts"
    elif decaying > 0 and decaying % period:
        divisor = f"a divisor of {decaying}, for whole periods"
        yield "restart_epochs", f"found {period}; allowed: {divisor}"


def _weights_problems(spec: TrialSpec) -> Iterator[tuple[str, str]]:
    if spec.weights == "pretrained":
        if not spec.weights_sha256:
            yield "weights", "pretrained needs a file; allowed: weights_file: PATH beside it"
        for field in ("init", "bn_init"):
            if getattr(spec, field) != TrialSpec.model_fields[field].default:
                yield field, "means nothing with weights: pretrained"
    elif spec.weights_sha256:
        yield "weights_sha256", "only means something with weights: pretrained"


def depth_problem(model: str, depth: int) -> str:
    """Why `depth` is impossible for `model`, and the nearest possible ones; empty if it is fine."""
    return NETWORKS[model].depth_problem(model, depth) if model in NETWORKS else ""
