"""Networks of timm from a sweep to results: planned, trained by their norms."""

import pytest

from orchestrator import Sweep, launch, results
from orchestrator.sweep import descriptions
from orchestrator.tracking.memory_tracker import MemoryTracker

TINY = {"dataset": "synthetic", "image_size": 8, "train_subset": 4, "batch_size": 2, "epochs": 1}


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


def trained(store, model, modes, **fields):
    """Plans and trains the modes of a network; returns rows of the plan, and of the results."""
    sweep = sweep_of(model, modes, **fields)
    planned = sweep.plan(store)
    assert launch(sweep, store=store, inline=True, tracker=MemoryTracker()).exit_code == 0
    return planned.to_json()["trials"], results("theirs", store=store).to_dict("records")


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("timm/test_vit", {"img_size": 32, "resize": 32}),
        ("timm/test_convnext", {"resize": 32}),
    ],
)
def test_networks_of_timm_train_their_norms(model, options, tmp_path):
    pytest.importorskip("timm", reason="pip install 'bnsweep[timm]'")
    planned, rows = trained(tmp_path, model, ["norm_only"], options=options)
    for (row,) in (planned, rows):
        assert 0 < row["params_trainable"] < row["params_total"] / 50
        assert row["params_bn"] == 0
    assert planned[0]["flops_per_image"] > 0
    assert planned[0]["memory_bytes"] > 0
