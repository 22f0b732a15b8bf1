"""A user's own network, mode, data set, probe and augmentation, named by the code's content."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trainer import checkpoint, describe, extend, own_code
from trainer.data_sets import DATA_SETS
from trainer.errors import DataError, SpecError, Stopped
from trainer.export import export
from trainer.modes import MODES, Role
from trainer.networks.descriptions import NETWORKS, NetworkSpec
from trainer.networks.roles import roles_of
from trainer.options import Options
from trainer.own_code import CodeProblem
from trainer.results import ARTIFACTS, FREEZE_PROOF, PROBES
from trainer.spec import TrialSpec
from trainer.train import train

MINE = """
import torch
from torch import nn
from trainer.extend import BatchNorm, augmentation, conv, data_set, mode, network, output, probe

@network(depths=[1, 2], sides=(8, 64), label="Tiny")
class TinyNet(nn.Module):
    def __init__(self, spec):
        super().__init__()
        filters = 8 * spec.width
        self.conv1, self.bn1 = conv(3, filters, 3), BatchNorm(filters, spec)
        self.group = nn.GroupNorm(spec.option("groups", 2), filters)
        self.drop = nn.Dropout(0.2)
        self.fc = output(filters, spec)

    def forward(self, images):
        features = self.group(self.bn1(self.conv1(images), relu=True))
        return self.fc(self.drop(features).mean((2, 3)))

@mode
def stem_only(role):
    return role.name.startswith("conv1.")

@data_set(classes=3, side=8)
def squares(root, spec):
    draw = torch.Generator().manual_seed(0)
    def split(count):
        labels = torch.arange(count) % 3
        return torch.rand(count, 8, 8, generator=draw) * (labels + 1)[:, None, None] / 3, labels
    return split(48), split(12)

@probe
def spread(model, batches):
    return {"weight": model.conv1.weight.std().item(), "shape": list(model.conv1.weight.shape)}

@augmentation
def darker(images, generator):
    return images * torch.rand(len(images), 1, 1, 1, generator=generator)
"""


@pytest.fixture(autouse=True)
def _nothing_in_use():
    yield
    extend.use(None, "")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def spec_of(code: Path, **fields: object) -> TrialSpec:
    own = {"model": "tiny_net", "dataset": "squares", "crop_padding": 0, "epochs": 2}
    if "/" not in str(fields.get("model", "")):
        own["depth"] = 1
    given = {"code_sha256": own_code.digest(code), "batch_size": 16, "lr": 0.05, **own, **fields}
    return TrialSpec(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mode", "trained"),
    [
        ("stem_only", {"conv1.weight"}),
        ("norm_only", {"bn1.weight", "bn1.bias", "group.weight", "group.bias"}),
        (
            "norm_output",
            {"bn1.weight", "bn1.bias", "group.weight", "group.bias"} | {"fc.weight", "fc.bias"},
        ),
        ("bn_only", {"bn1.weight", "bn1.bias"}),
        ("all_but_bn", {"conv1.weight", "group.weight", "group.bias", "fc.weight", "fc.bias"}),
    ],
)
def test_own_networks_freeze_by_own_and_built_in_modes(mode, trained, code, tmp_path, options):
    spec = spec_of(code, trainable=mode)
    result = train(spec, tmp_path / "out", options=replace(options, code=code))
    proof = json.loads((tmp_path / "out" / ARTIFACTS / FREEZE_PROOF).read_text())
    assert set(proof["declared"]) == set(proof["changed"]) | set(proof["stuck"]) == trained
    assert set(proof["changed"])
    assert not proof["violations"]
    assert len(result.history) == 3


def test_a_resume_of_an_own_network_with_dropout_and_augmentation_has_the_same_bits(
    code, tmp_path, options
):
    spec, given = spec_of(code, augmentation="darker"), replace(options, code=code)
    whole = train(spec, tmp_path / "whole", options=given)
    polls = iter(range(100))
    stopping = replace(given, poll=lambda: next(polls) == 4)
    with pytest.raises(Stopped):
        train(spec, tmp_path / "parts", options=stopping)
    resume = checkpoint.find([tmp_path / "parts"], spec)
    assert resume is not None
    parts = train(spec, tmp_path / "parts", attempt=2, resume=resume, options=given)
    assert parts.digests["final"] == whole.digests["final"]
    plain = train(spec_of(code), tmp_path / "plain", options=given)
    assert plain.digests["final"] != whole.digests["final"], "the augmentation changes nothing"


def test_an_own_network_is_exported_whole(code, tmp_path, options):
    result = train(spec_of(code), tmp_path / "out", options=replace(options, code=code))
    state = export(tmp_path / "out", tmp_path / "net.pt", code=code)
    assert {"conv1.weight", "group.bias", "fc.weight", "bn1.running_mean"} <= state.keys()
    assert result.counts.total == sum(
        tensor.numel() for name, tensor in state.items() if name.endswith(("weight", "bias"))
    )
    extend.use(None, "")
    with pytest.raises(CodeProblem, match="no file given"):
        export(tmp_path / "out", tmp_path / "net.pt")


def test_own_probes_give_metrics_and_arrays(code, tmp_path):
    result = train(spec_of(code), tmp_path / "out", options=Options(code=code, device="cpu"))
    assert 0 < result.metrics["trained/spread/weight"] < 1
    with np.load(tmp_path / "out" / ARTIFACTS / PROBES) as arrays:
        assert arrays["spread_shape"].tolist() == [8, 3, 3, 3]
        assert len(arrays["gamma"]) == 16, "γ of the BatchNorm and of the GroupNorm"


def test_an_own_probe_goes_by_its_name_alone(code, tmp_path):
    def measured(*names):
        given = Options(code=code, device="cpu", probes=names)
        metrics = train(spec_of(code), tmp_path / "-".join(names), options=given).metrics
        return {key for key in metrics if key.startswith("trained/")}

    assert measured("spread") == {"trained/spread/weight", "trained/images"}
    assert "trained/spread/weight" in measured("bn", "own")
    assert "trained/spread/weight" not in measured("bn")
    with pytest.raises(SpecError, match=r"found spraed; allowed: bn, .*, own, spread"):
        measured("spraed")


def test_options_reach_the_network_and_are_part_of_its_identity(code, tmp_path, options):
    spec = spec_of(code, options={"groups": 4})
    assert spec.trial_id != spec_of(code).trial_id
    assert TrialSpec.model_validate_json(spec.model_dump_json(), strict=False) == spec
    four = train(spec, tmp_path / "four", options=replace(options, code=code))
    two = train(spec_of(code), tmp_path / "two", options=replace(options, code=code))
    assert four.digests["initial"] == two.digests["initial"]
    assert four.digests["final"] != two.digests["final"]


def test_definitions_count_only_while_their_code_is_in_use(code, tmp_path):
    other = tmp_path / "other.py"
    other.write_text("from trainer.extend import mode\n@mode\ndef all_of_it(role): return True\n")
    extend.use(code, own_code.digest(code))
    assert "tiny_net" in NETWORKS
    assert "stem_only" in MODES
    assert "squares" in DATA_SETS
    extend.use(other, own_code.digest(other))
    assert "tiny_net" not in NETWORKS
    assert "stem_only" not in MODES
    assert "all_of_it" in MODES
    extend.use(None, "")
    assert "all_of_it" not in MODES
    assert "squares" not in DATA_SETS


def test_other_code_than_the_trial_names_is_refused(code, tmp_path, options):
    spec = spec_of(code)
    code.write_text(MINE + "# a comment\n")
    assert own_code.digest(code) != spec.code_sha256
    with pytest.raises(CodeProblem, match="is other code than the trial names"):
        train(spec, tmp_path / "out", options=replace(options, code=code))
    with pytest.raises(CodeProblem, match="no file given"):
        train(spec, tmp_path / "out", options=options)


def test_a_package_is_one_code(tmp_path, options):
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("from . import nets\n")
    (package / "nets.py").write_text(MINE)
    spec = spec_of(package)
    train(spec, tmp_path / "out", options=replace(options, code=package))
    assert not list(package.rglob("__pycache__"))
    (package / "nets.py").write_text(MINE + "\n")
    assert own_code.digest(package) != spec.code_sha256


def test_what_cannot_be_code_is_said(tmp_path):
    def problem(path):
        with pytest.raises(CodeProblem) as caught:
            own_code.digest(path)
        return str(caught.value)

    (tmp_path / "a.txt").write_text("")
    (tmp_path / "large.py").write_text("#" * (own_code.MAX_BYTES + 1))
    for name in ("bare", "mixed", "leads"):
        (tmp_path / name).mkdir()
    for name in ("mixed", "leads"):
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "mixed" / "data.csv").write_text("")
    (tmp_path / "leads" / "out.py").symlink_to(tmp_path / "large.py")
    assert problem(tmp_path / "a.txt") == "a.txt is neither a .py file nor a package folder"
    assert problem(tmp_path / "gone.py") == "gone.py is not there"
    assert problem(tmp_path / "large.py") == "large.py has 1,048,577 bytes; at most 1,048,576"
    assert problem(tmp_path / "bare") == "bare has no __init__.py, so it is not a package"
    assert "data.csv: a package of code" in problem(tmp_path / "mixed")
    assert problem(tmp_path / "leads") == "out.py is a link that leads out of leads"


NETWORK = "from torch import nn\nimport torch, random\nfrom trainer.extend import network, output\n"
BARE = (
    NETWORK + "from trainer.extend import mode\n@network\nclass TinyNet(nn.Module):\n"
    "    def __init__(self, spec):\n        super().__init__()\n"
    "        self.scale = nn.Parameter(torch.ones(3))\n        self.fc = output(3, spec)\n"
    "    def forward(self, x):\n        return self.fc(self.scale * x.mean((2, 3)))\n"
    "@mode\ndef scale_only(role): return role.name == 'scale'\n"
)
WRONG = {
    "a syntax error": ("def broken(:\n", 1, "SyntaxError: invalid syntax"),
    "an import that is missing": ("\nimport nowhere_to_be_found\n", 2, "ModuleNotFoundError"),
    "a built-in name": (
        "from trainer.extend import mode\n@mode\ndef bn_only(role): return True\n",
        2,
        "mode bn_only is built in; name yours otherwise",
    ),
    "no network": (
        "from trainer.extend import mode\n@mode\ndef one(role): return True\n",
        0,
        "model: tiny_net is not built in, and the code has none",
    ),
    "no module": (
        NETWORK + "@network\ndef tiny_net(spec): return 3\n",
        0,
        "network tiny_net: gives a int, not an nn.Module",
    ),
    "no output layer": (
        NETWORK + "@network\ndef tiny_net(spec): return nn.Conv2d(3, 10, 8)\n",
        0,
        "network tiny_net: no output layer",
    ),
    "a wrong shape": (
        NETWORK + "@network\ndef tiny_net(spec): return nn.Linear(8, spec.classes)\n",
        0,
        "gives (2, 3, 8, 10) for 2 images; allowed: logits of shape (2, 10)",
    ),
    "an error in forward": (
        NETWORK + "@network\nclass TinyNet(nn.Module):\n"
        "    def __init__(self, spec):\n        super().__init__()\n"
        "        self.fc = output(8, spec)\n"
        "    def forward(self, x):\n        return self.fc(x.nowhere)\n",
        10,
        "AttributeError: 'Tensor' object has no attribute 'nowhere'",
    ),
    "not a number": (
        NETWORK + "@network\nclass TinyNet(nn.Module):\n"
        "    def __init__(self, spec):\n        super().__init__()\n"
        "        self.fc = output(3, spec)\n"
        "    def forward(self, x):\n        return self.fc(x.mean((2, 3))) / 0\n",
        0,
        "network tiny_net: its first logits are not finite",
    ),
    "chance of its own": (
        NETWORK + "@network\nclass TinyNet(nn.Module):\n"
        "    def __init__(self, spec):\n        super().__init__()\n"
        "        self.fc = output(3, spec)\n"
        "    def forward(self, x):\n        return self.fc(x.mean((2, 3)) * random.random())\n",
        0,
        "two steps from one seed gave different numbers",
    ),
}


@pytest.mark.parametrize(
    ("mode", "trainable"),
    [("all", 43), ("scale_only", 3), ("output_only", 40), ("norm_only", None)],
)
def test_a_parameter_of_no_layer_is_counted_and_trains_where_a_mode_names_it(
    mode, trainable, tmp_path
):
    path = tmp_path / "mine.py"
    path.write_text(BARE)
    spec = {"code_sha256": own_code.digest(path), "model": "tiny_net", "dataset": "digits"}
    answer = describe.describe(path, [{**spec, "trainable": mode}], check=True)
    assert roles_of(extend.TABLES["networks"]["tiny_net"].build(NetworkSpec(1)))["scale"] == Role(
        "other"
    )
    (trial,) = answer["trials"]
    if trainable is None:
        assert trial["problem"]["message"] == (
            "trainable: norm_only trains no parameter of network tiny_net, whose roles are bias, "
            "linear_weight, other"
        )
    else:
        assert (trial["counts"]["total"], trial["counts"]["trainable"]) == (43, trainable)


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_one_line_of_the_users_file(what, tmp_path):
    text, line, message = WRONG[what]
    path = tmp_path / "mine.py"
    path.write_text(text)
    spec = {"code_sha256": own_code.digest(path), "model": "tiny_net", "dataset": "digits"}
    answer = describe.describe(path, [spec], check=True)
    (problem,) = answer["problems"] or [answer["trials"][0]["problem"]]
    assert message in problem["message"]
    assert "\n" not in problem["message"]
    assert problem["line"] == line
    if line:
        assert problem["file"] == str(path)


def test_what_the_code_defines_and_counts_is_described(code):
    specs = [spec_of(code, trainable=mode).model_dump(mode="json") for mode in ("all", "bn_only")]
    answer = describe.describe(code, specs, check=True)
    assert answer["problems"] == []
    assert answer["networks"]["tiny_net"]["depths"] == [1, 2]
    assert answer["data_sets"]["squares"]["classes"] == 3
    assert answer["modes"].keys() == {"stem_only"}
    everything, norms = answer["trials"]
    assert everything["counts"]["total"] == everything["counts"]["trainable"] == 8 * 27 + 4 * 8 + 27
    assert norms["counts"]["trainable"] == norms["counts"]["bn"] == 16
    assert everything["flops_per_image"] == 2 * 8 * 27 * 64 + 2 * 8 * 3
    assert everything["activation_bytes_per_image"] >= norms["activation_bytes_per_image"] > 0


@pytest.mark.parametrize(
    ("name", "options_", "norm"),
    [
        ("resnet18", {"resize": 32}, "batch"),
        ("vit_b_16", {"image_size": 32, "resize": 32}, "layer"),
        ("convnext_tiny", {"resize": 32}, "layer"),
    ],
)
def test_networks_of_torchvision_train_their_norms_alone(
    name, options_, norm, code, tmp_path, options
):
    tiny = {"epochs": 1, "train_subset": 4, "batch_size": 2}  # of the 60 small images of `squares`
    spec = spec_of(
        code, model=f"torchvision/{name}", options=options_, trainable="norm_only", **tiny
    )
    assert spec.trial_id.startswith(f"torchvision-{name}-norm_only-s0-")
    options = replace(options, code=code)
    result = train(spec, tmp_path / "out", options=options)
    proof = json.loads((tmp_path / "out" / ARTIFACTS / FREEZE_PROOF).read_text())
    assert 0 < len(proof["declared"]) < len(proof["initial"])
    assert not proof["violations"]
    assert result.counts.bn == (result.counts.trainable if norm == "batch" else 0)


def test_a_name_that_torchvision_does_not_know_is_said(tmp_path, options):
    spec = TrialSpec(model="torchvision/resnet81", dataset="digits")
    with pytest.raises(CodeProblem, match="no network resnet81; did you mean torchvision/res"):
        train(spec, tmp_path / "out", options=options)


def test_every_normalisation_has_its_role():
    layers = [nn.BatchNorm1d(4), nn.BatchNorm3d(4), nn.InstanceNorm2d(4, affine=True)]
    model = nn.Sequential(*layers, nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.RMSNorm(4))
    norms = [role.norm for role in roles_of(model).values()]
    assert norms == ["batch"] * 4 + ["instance"] * 2 + ["layer"] * 2 + ["group"] * 2 + ["rms"]
    assert all(role.normalises for role in roles_of(model).values())
    assert [role.bn for role in roles_of(model).values()] == [True] * 4 + [False] * 7


NOT_DATA = {
    "1": "gives no pair of training and test images",
    "(torch.zeros(2, 8, 8), [0, 3]), (torch.zeros(1, 8, 8), [0])": "found labels from 0 to 3",
    "(torch.zeros(2, 9, 9), [0, 1]), (torch.zeros(1, 8, 8), [0])": "(9, 9, 3); allowed: 8x8",
    "(torch.zeros(2, 8, 8), [0]), (torch.zeros(1, 8, 8), [0])": "2 images have 1 labels",
    "(torch.ones(2, 8, 8) * 2, [0, 1]), (torch.zeros(1, 8, 8), [0])": "found pixels from 2 to 2 (f",
    "(torch.full((2, 8, 8), 300), [0, 1]), (torch.zeros(1, 8, 8), [0])": "from 300 to 300 (int64)",
    "(torch.zeros(2, 8, 8), [0, 0.7]), (torch.zeros(1, 8, 8), [0])": "labels that are no whole",
}


@pytest.mark.parametrize("given", NOT_DATA)
def test_an_own_data_set_that_does_not_fit_is_said(given, tmp_path, options):
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\nfrom trainer.extend import data_set\n"
        f"@data_set(classes=3, side=8)\ndef squares(root, spec): return {given}\n"
    )
    spec = spec_of(path, model="cifar_resnet", depth=8)
    with pytest.raises(DataError, match="squares") as caught:
        train(spec, tmp_path / "out", options=replace(options, code=path))
    assert NOT_DATA[given] in str(caught.value)


def test_a_subset_larger_than_an_own_data_set_is_said(tmp_path, options):
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\nfrom trainer.extend import data_set\n@data_set(classes=3, side=8)\n"
        "def squares(root, spec): return 2 * [(torch.zeros(2, 8, 8), [0, 1])]\n"
    )
    spec = spec_of(path, model="cifar_resnet", depth=8, train_subset=5)
    with pytest.raises(DataError, match="squares: 2 training images, train_subset: 5"):
        train(spec, tmp_path / "out", options=replace(options, code=path))


def test_map_style_data_sets_and_pictures_are_read(tmp_path):
    from PIL import Image

    from trainer.data.own_data import reading

    pictures = [(Image.new("L", (8, 8), 40 * label), label) for label in range(3)]
    spec = TrialSpec(code_sha256="0" * 64, dataset="mine", image_size=8, classes=3)
    read = reading(lambda *_: (_Mapped(pictures), _Mapped(pictures)), "mine")
    train_split, test_split = read(spec, tmp_path)
    assert train_split.images.shape == (3, 8, 8, 3)
    assert train_split.images[:, 0, 0, 0].tolist() == [0, 40, 80]
    assert torch.equal(torch.from_numpy(test_split.labels), torch.arange(3))


class _Mapped:
    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index]
