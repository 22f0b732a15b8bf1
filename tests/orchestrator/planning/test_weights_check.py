"""Files of weights are compared with their networks in the plan, before anything is copied."""

import hashlib

import pytest
import torch

from orchestrator.errors import UserError
from orchestrator.planning import plan, weights_check
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec
from trainer.spec import TrialSpec
from trainer.weights import initial

SWEEP = "name: a\nbase: {{depth: 8}}\naxes: {{weights_file: [{}], trainable: [all, bn_only]}}\n"


@pytest.fixture
def sweep(tmp_path):
    """Of files in a folder, by name."""

    def load(*names):
        path = tmp_path / "s.yaml"
        path.write_text(SWEEP.format(", ".join(names)))
        return sweep_spec.load(path)

    torch.save(initial.build(TrialSpec(depth=8)).state_dict(), tmp_path / "fits.pt")
    torch.save(initial.build(TrialSpec(depth=8, width=2)).state_dict(), tmp_path / "wide.pt")
    (tmp_path / "torn.pt").write_bytes(b"\x80\x02}q\x00X\x01\x00\x00\x00.")  # IndexError of pickle
    return load


def test_what_does_not_fit_is_a_line_that_names_the_tensor(sweep, tmp_path):
    with pytest.raises(UserError) as caught:
        plan.make(sweep("fits.pt", "wide.pt", "torn.pt"), Store(tmp_path / "runs"))
    wide, torn = caught.value.lines
    begins = f"{tmp_path}/s.yaml: weights_file: cifar_resnet of depth 8 and width 1: weights file "
    assert wide.startswith(f"{begins}{tmp_path}/wide.pt does not fit this network: conv1.weight is")
    assert "[32, 3, 3, 3], not [16, 3, 3, 3]" in wide
    assert torn.startswith(f"{begins}{tmp_path}/torn.pt: not a file of plain tensors")
    assert not (tmp_path / "runs").exists()


def test_a_file_that_fits_is_planned(sweep, tmp_path):
    assert len(plan.make(sweep("fits.pt"), Store(tmp_path / "runs")).to_run) == 2


def test_a_private_file_is_named_where_others_may_read_the_store(sweep, tmp_path):
    store = Store(tmp_path / "runs")
    one = sweep("fits.pt")
    (tmp_path / "fits.pt").chmod(0o644)
    assert weights_check.private_files(one, store) == ()
    (tmp_path / "fits.pt").chmod(0o600)
    assert weights_check.private_files(one, store) == (tmp_path / "fits.pt",)
    store.root.mkdir(mode=0o700)
    assert weights_check.private_files(one, store) == ()


def test_a_file_that_was_changed_since_is_not_copied(sweep, tmp_path):
    one, store = sweep("fits.pt"), Store(tmp_path / "runs")
    store.open_for_writing()
    (tmp_path / "fits.pt").write_bytes(b"other")
    with pytest.raises(UserError, match="was changed since"):
        store.keep_weights(one.files)
    sha256 = hashlib.sha256(b"other").hexdigest()
    store.keep_weights({sha256: tmp_path / "fits.pt"})
    assert store.weights_file(sha256).read_bytes() == b"other"
