"""Pretrained weights: torchvision's and our own files load; what does not fit is said by name."""

import hashlib
import itertools
import json
from dataclasses import replace

import pytest
import torch
import torchvision
from small_trials import numbers, small

from trainer import checkpoint, freezing
from trainer.__main__ import main
from trainer.errors import DataError, Stopped
from trainer.spec import TrialSpec
from trainer.train import train
from trainer.weights import initial, pretrained


def saved(tmp_path, state):
    path = tmp_path / "weights.pt"
    torch.save(state, path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def started_from(path, sha256, **fields):
    spec = TrialSpec(weights="pretrained", weights_sha256=sha256, **fields)
    return initial.build(spec, path)


def own_state(**fields):
    return initial.build(TrialSpec(**{"depth": 8, "seed": 1, **fields})).state_dict()


def test_torchvisions_weights_give_torchvisions_logits(tmp_path):
    theirs = torchvision.models.resnet18().eval()
    path, sha256 = saved(tmp_path, theirs.state_dict())
    ours = started_from(path, sha256, model="imagenet_resnet", depth=18, dataset="imagenet").eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(images)
        assert (ours(images) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_running_statistics_come_from_the_file(tmp_path):
    state = own_state()
    state["bn1.running_mean"] += 3
    state["bn1.num_batches_tracked"] = torch.tensor(7)  # as an export has it
    model = started_from(*saved(tmp_path, state), depth=8)
    assert torch.equal(model.bn1.running_mean, torch.full((16,), 3.0))
    assert (
        freezing.snapshot(model).digest
        == freezing.snapshot(initial.build(TrialSpec(depth=8, seed=1))).digest
    )


def test_a_state_dict_inside_a_training_scripts_file_is_found(tmp_path):
    path, sha256 = saved(tmp_path, {"epoch": 3, "state_dict": own_state()})
    model = started_from(path, sha256, depth=8)
    assert torch.equal(model.conv1.weight, own_state()["conv1.weight"])


def test_half_precision_weights_become_fp32(tmp_path):
    state = {name: tensor.half() for name, tensor in own_state().items()}
    model = started_from(*saved(tmp_path, state), depth=8)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert torch.equal(model.conv1.weight, own_state()["conv1.weight"].half().float())


def test_an_output_layer_for_other_classes_keeps_its_initial_values(tmp_path):
    path, sha256 = saved(tmp_path, own_state())
    model = started_from(path, sha256, depth=8, dataset="cifar100", seed=5)
    fresh = initial.build(TrialSpec(depth=8, dataset="cifar100", seed=5))
    assert torch.equal(model.conv1.weight, own_state()["conv1.weight"])
    assert torch.equal(model.fc.weight, fresh.fc.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("conv1.weight"), r"lacks conv1\.weight$"),
        (lambda s: s.update({"extra": torch.ones(1)}), "has extra, which the network has not$"),
        (
            lambda s: s.update({"bn1.weight": torch.ones(1)}),
            r"bn1\.weight is \[1\], not \[16\]$",
        ),
        (lambda s: [s.pop(n) for n in list(s)[:7]], r"lacks (\S+, ){4}\S+ and 2 more$"),
        (
            lambda s: (s.pop("fc.bias"), s.update({"head": torch.ones(1)})),
            r"lacks fc\.bias; it has head",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, change, message):
    state = own_state()
    change(state)
    with pytest.raises(DataError, match=message):
        started_from(*saved(tmp_path, state), depth=8)


def test_another_file_than_the_trial_names_is_refused(tmp_path):
    path, _ = saved(tmp_path, own_state())
    with pytest.raises(DataError, match=r"another file.*the trial's 000000"):
        started_from(path, "0" * 64, depth=8)


class Trap:
    """A pickle that would run code when loaded."""

    def __reduce__(self):
        return print, ("the trap was sprung",)


def test_nothing_in_the_file_is_executed(tmp_path, capsys):
    with pytest.raises(DataError, match="not a file of plain tensors"):
        started_from(*saved(tmp_path, {"conv1.weight": Trap()}), depth=8)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"not torch", b"PK\x03\x04", b"\x80\x02}."])
def test_a_file_that_torch_cannot_load_is_refused(tmp_path, content):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(DataError, match="weights file"):
        started_from(path, hashlib.sha256(content).hexdigest(), depth=8)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.ones(2)])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    with pytest.raises(DataError, match="not a state dict"):
        started_from(*saved(tmp_path, content), depth=8)


def test_a_missing_file_is_the_users_to_mend(tmp_path):
    with pytest.raises(DataError, match=r"none\.pt: cannot be read \(No such file"):
        pretrained.load(torch.nn.Linear(1, 1), tmp_path / "none.pt", "")


def test_a_pretrained_spec_without_its_file_never_trains_random_weights():
    with pytest.raises(DataError, match="no file given"):
        initial.build(TrialSpec(weights="pretrained", weights_sha256="a" * 64))


def test_a_trial_on_pretrained_weights_resumes_bit_for_bit_from_the_same_file(tmp_path, options):
    path, sha256 = saved(tmp_path, own_state())
    spec = small(trainable="bn_only", weights="pretrained", weights_sha256=sha256)
    options = replace(options, pretrained=path)
    whole = train(spec, tmp_path / "whole", options=options)
    steps = itertools.count()
    with pytest.raises(Stopped):
        train(spec, tmp_path / "1", options=replace(options, poll=lambda: next(steps) == 5))
    resume = checkpoint.find([tmp_path / "1"], spec, path)
    resumed = train(spec, tmp_path / "2", attempt=2, resume=resume, options=options)
    assert numbers(resumed) == numbers(whole)
    assert resumed.exact
    assert whole.digests["initial"] == freezing.snapshot(started_from(path, sha256, depth=8)).digest


def test_the_command_takes_the_file(tmp_path, capsys):
    path, sha256 = saved(tmp_path, own_state())
    fields = small(weights="pretrained", weights_sha256=sha256, epochs=0).identity_fields()
    (tmp_path / "spec.json").write_text(json.dumps(fields))
    command = [str(tmp_path / "spec.json"), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "no file given" in capsys.readouterr().err
    assert main([*command, "--pretrained", str(path)]) == 0
