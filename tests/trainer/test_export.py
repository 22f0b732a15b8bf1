import hashlib
import re
from pathlib import Path

import pytest
import torch

from trainer import results
from trainer.__main__ import main
from trainer.errors import DataError
from trainer.export import export
from trainer.learner import Learner
from trainer.spec import TrialSpec
from trainer.train import Options, train

DOCS = Path(__file__).parents[2] / "docs" / "export.md"
SMALL = {"dataset": "synthetic", "train_subset": 32, "batch_size": 16, "epochs": 1}


def loader(name):
    """`load` as docs/export.md shows it."""
    code = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S)
    (found,) = [block for block in code if block.startswith(f"# {name}\n")]
    namespace = {}
    exec(found, namespace)
    return namespace["load"]


def trained(folder, **fields):
    spec = TrialSpec.model_validate({**SMALL, **fields})
    return train(spec, folder, options=Options(data=folder, device="cpu", probes=()))


def logits(folder, result, images):
    """Of the network as training left it."""
    learner = Learner(result.spec, torch.device("cpu"))
    final = torch.load(folder / results.ARTIFACTS / results.FINAL_TENSORS, weights_only=True)
    learner.model.load_state_dict(final, strict=False)
    learner.model.eval()
    with torch.no_grad():
        return learner.forward(images)


def images(side=32):
    draw = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    return draw.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "fields",
    [
        {"depth": 8, "trainable": "bn_only"},
        {"depth": 8, "trainable": "random_k", "k": 2},
        {"depth": 8, "trainable": "all", "width": 2},
        {"depth": 8, "trainable": "output_only", "init": "orthogonal"},
        {"depth": 8, "trainable": "nothing"},
        {"model": "cifar_vgg", "depth": 11, "trainable": "all", "epochs": 0},
        {"model": "imagenet_resnet", "depth": 18, "trainable": "all", "epochs": 0},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_the_documented_plain_network_gives_the_same_logits(tmp_path, fields):
    result = trained(tmp_path, **fields)
    export(tmp_path, tmp_path / "model.pt")
    load, spec = loader(result.spec.model), result.spec
    sizes = {"width": spec.width} if spec.model != "imagenet_resnet" else {}
    plain = load(tmp_path / "model.pt", spec.depth, classes=10, **sizes)
    assert not type(plain).__module__.startswith("trainer")
    with torch.no_grad():
        found = plain.to(memory_format=torch.channels_last)(images())
    torch.testing.assert_close(found, logits(tmp_path, result, images()), rtol=1e-6, atol=1e-7)


def test_counters_of_batches_are_put_back_and_tensors_are_contiguous(tmp_path):
    trained(tmp_path, depth=8, trainable="bn_only", epochs=3)
    export(tmp_path, tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    counters = [value for name, value in state.items() if name.endswith("num_batches_tracked")]
    assert len(counters) == 9
    assert all(counter == torch.tensor(6) for counter in counters)
    assert all(tensor.is_contiguous() for tensor in state.values())


def test_an_export_is_the_start_of_another_trial_which_can_be_exported_too(tmp_path):
    trained(tmp_path / "1", depth=8, trainable="bn_only")
    file = tmp_path / "start.pt"
    start = export(tmp_path / "1", file)
    fields = {
        "weights": "pretrained",
        "weights_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    spec = TrialSpec.model_validate({**SMALL, **fields, "depth": 8, "trainable": "output_only"})
    options = Options(data=tmp_path, device="cpu", probes=(), pretrained=file)
    train(spec, tmp_path / "2", options=options)
    state = export(tmp_path / "2", tmp_path / "model.pt", pretrained=file)
    assert torch.equal(state["conv1.weight"], start["conv1.weight"])
    assert not torch.equal(state["fc.weight"], start["fc.weight"])
    with pytest.raises(DataError):
        export(tmp_path / "2", tmp_path / "again.pt")


def test_an_unfinished_folder_is_a_mistake_with_a_line(tmp_path, capsys):
    assert main(["export", str(tmp_path), str(tmp_path / "model.pt")]) == 2
    assert "no finished trial lies here" in capsys.readouterr().err
    assert not (tmp_path / "model.pt").exists()


def test_damaged_final_tensors_are_named(tmp_path):
    trained(tmp_path, depth=8, trainable="bn_only", epochs=0)
    path = tmp_path / results.ARTIFACTS / results.FINAL_TENSORS
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="missing or damaged"):
        export(tmp_path, tmp_path / "model.pt")


def test_a_network_that_is_not_the_trained_one_is_refused(tmp_path):
    trained(tmp_path, depth=8, trainable="bn_only", epochs=0)
    path = tmp_path / results.ARTIFACTS / results.FINAL_TENSORS
    final = torch.load(path, weights_only=True)
    final["bn1.weight"][0] += 1
    torch.save(final, path)
    with pytest.raises(DataError, match="its digest differs"):
        export(tmp_path, tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()


def test_the_command_says_what_it_wrote(tmp_path, capsys):
    trained(tmp_path, depth=8, trainable="nothing", epochs=0)
    assert main(["export", str(tmp_path), str(tmp_path / "model.pt")]) == 0
    assert re.search(r"model.pt: 56 tensors, [\d,]+ numbers", capsys.readouterr().out)
