"""Networks of torchvision and timm from a sweep to results: planned, trained by their norms."""

import pytest
import torch
import torchvision

from orchestrator import Sweep, launch, results
from orchestrator.errors import UserError
from orchestrator.launching.export import export
from orchestrator.store.store import Store
from orchestrator.sweep import descriptions
from orchestrator.tracking.memory_tracker import MemoryTracker

TINY = {"dataset": "synthetic", "image_size": 32, "train_subset": 4, "batch_size": 2, "epochs": 1}
"""As many pixels and classes as CIFAR-10 has."""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(descriptions, "TIMEOUT_S", 280.0)  # for a busy machine


def sweep_of(model, modes, **fields):
    return Sweep.of(
        {
            "name": "theirs",
            "base": {"model": model, "lr": 0.01, "crop_padding": 0, **TINY, **fields},
            "axes": {"trainable": modes},
        }
    )


def trained(store, sweep):
    """Plans and trains the sweep; returns rows of the plan, and of the results."""
    planned = sweep.plan(store)
    assert launch(sweep, store=store, inline=True, tracker=MemoryTracker()).exit_code == 0
    return planned.to_json()["trials"], results("theirs", store=store).to_dict("records")


@pytest.mark.parametrize(
    ("model", "modes", "options"),
    [
        ("torchvision/resnet18", ["bn_only", "norm_only"], {"resize": 48}),
        ("torchvision/vit_b_16", ["norm_only"], {"image_size": 48, "resize": 48}),
        ("torchvision/convnext_tiny", ["norm_output"], {"resize": 48}),
    ],
)
def test_networks_of_torchvision_train_their_norms(model, modes, options, tmp_path):
    planned, rows = trained(tmp_path, sweep_of(model, modes, options=options))
    for row in planned + rows:
        assert 0 < row["params_trainable"] < row["params_total"] / 50
    for row in rows:
        batch_norm = model.endswith("resnet18")
        assert row["params_bn"] == (row["params_trainable"] if batch_norm else 0)


def test_a_pretrained_network_of_torchvision_comes_from_a_file(tmp_path):
    """A frozen tensor of the exported network is the file's."""
    theirs = torchvision.models.convnext_tiny(num_classes=10).state_dict()
    torch.save(theirs, tmp_path / "convnext.pt")
    sweep = sweep_of(
        "torchvision/convnext_tiny",
        ["output_only"],
        options={"resize": 48},
        weights="pretrained",
        weights_file=str(tmp_path / "convnext.pt"),
    )
    _, (row,) = trained(tmp_path / "runs", sweep)
    export(Store(tmp_path / "runs"), row["trial_id"], tmp_path / "trained.pt")
    ours = torch.load(tmp_path / "trained.pt")
    changed = {name for name in theirs if not torch.equal(ours[name], theirs[name])}
    assert changed == {"classifier.2.weight", "classifier.2.bias"}


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("timm/test_vit", {"img_size": 48, "resize": 48}),
        ("timm/test_convnext", {"resize": 48}),
    ],
)
def test_networks_of_timm_train_their_norms(model, options, tmp_path):
    pytest.importorskip("timm", reason="pip install 'bnsweep[timm]'")
    planned, rows = trained(tmp_path, sweep_of(model, ["norm_only"], options=options))
    for (row,) in (planned, rows):
        assert 0 < row["params_trainable"] < row["params_total"] / 50
        assert row["params_bn"] == 0
    assert planned[0]["flops_per_image"] > 0
    assert planned[0]["memory_bytes"] > 0


def test_a_network_of_one_size_says_how_it_is_given_images_of_it(tmp_path):
    with pytest.raises(UserError, match=r"Expected 224 but got 32.*options: \{resize: 224\}"):
        sweep_of("torchvision/vit_b_16", ["norm_only"]).plan(tmp_path)
