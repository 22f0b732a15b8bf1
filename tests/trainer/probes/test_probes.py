import io
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from trainer import checkpoint, results, train
from trainer.data.splits import Data
from trainer.grouping import LARGEST
from trainer.journal import read
from trainer.kernels import fused_norm
from trainer.probes import probes
from trainer.probes.images import FEWEST_IMAGES, ProbeImages, budget
from trainer.spec import TrialSpec
from trainer.weights import initial

CPU = torch.device("cpu")
SPEC = TrialSpec(
    dataset="digits", depth=8, epochs=1, batch_size=128, crop_padding=1, flip=False, seed=3
)


@dataclass
class Split:
    """A split that gives prepared images, 4 at a time."""

    images: torch.Tensor
    labels: torch.Tensor

    @property
    def count(self):
        return len(self.labels)

    def batches(self):
        return iter(zip(torch.split(self.images, 4), torch.split(self.labels, 4), strict=True))


@dataclass
class Count:
    count: int


def data(count=24, train_count=2000, classes=10, side=8):
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, side, side, generator=draw)
    return Data(Count(train_count), Split(images, torch.arange(count) % classes), "d")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model():
    return initial.build(SPEC)


def measure(model, folder, spec=SPEC, given=None, **options):
    scalars = probes.run(model, spec, given or data(), CPU, folder, **options)
    with np.load(folder / results.PROBES, allow_pickle=False) as arrays:
        return scalars, dict(arrays)


def set_gamma(model, value):
    with torch.no_grad():
        for layer in probes.norms(model).values():
            layer.weight.fill_(value)


def test_gamma_and_beta_are_kept_with_quantiles_for_each_layer_and_overall(model, tmp_path):
    _, arrays = measure(model, tmp_path)
    layers = probes.norms(model)
    assert list(arrays["layers"]) == list(layers)
    assert arrays["gamma"].size == sum(layer.num_features for layer in layers.values()) == 336
    assert arrays["gamma_quantiles"].shape == (len(layers) + 1, len(probes.QUANTILES))
    first = layers["bn1"].weight.detach().numpy()
    assert arrays["gamma_quantiles"][0][5] == pytest.approx(np.median(first))
    assert arrays["gamma_quantiles"][-1][5] == pytest.approx(np.median(arrays["gamma"]))
    assert arrays["gamma_histogram"][-1].sum() == 336
    assert arrays["beta_histogram"].sum() == 2 * 336


def test_shortcut_norms_are_among_the_layers(model):
    names = [n for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert any("downsample" in name for name in names)
    assert list(probes.norms(model)) == names


def test_the_share_of_small_gamma_counts_magnitudes(model, tmp_path):
    set_gamma(model, 1.0)
    with torch.no_grad():
        model.bn1.weight[:4] = torch.tensor([0.0, -0.004, 0.03, -0.3])
    scalars, arrays = measure(model, tmp_path)
    assert scalars["trained/gamma_below_0.001"] == pytest.approx(100 / 336)
    assert scalars["trained/gamma_below_0.01"] == pytest.approx(200 / 336)
    assert scalars["trained/gamma_below_0.05"] == pytest.approx(300 / 336)
    assert scalars["trained/gamma_below_0.5"] == pytest.approx(400 / 336)
    assert arrays["curve"][-1] == pytest.approx(400 / 336)
    assert arrays["curve"][0] == pytest.approx(100 / 336)


def test_pruning_all_of_gamma_leaves_a_constant_prediction(model, tmp_path):
    set_gamma(model, 0.005)
    scalars, arrays = measure(model, tmp_path, given=data(count=20))
    images = data(count=20).test.images
    model.eval()
    with torch.no_grad():
        right = model(images).argmax(1) == torch.arange(20) % 10
    assert scalars["trained/accuracy_unpruned"] == pytest.approx(100 * right.float().mean().item())
    assert scalars["trained/accuracy_pruned_0.005"] == scalars["trained/accuracy_unpruned"]
    assert scalars["trained/accuracy_pruned_0.01"] == pytest.approx(10.0)
    assert list(arrays["pruned_accuracy"]) == [
        scalars[f"trained/accuracy_pruned_{t:g}"] for t in probes.THRESHOLDS
    ]


def test_the_network_is_left_as_it_was(model, tmp_path):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure(model, tmp_path)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    hooked = [m for m in model.modules() if m._forward_hooks]
    assert hooked == []


@pytest.mark.parametrize("kernel", [False, True])
def test_every_relu_is_seen_once_whether_a_kernel_computes_it_or_not(model, tmp_path, kernel):
    model = model.to(memory_format=torch.channels_last)
    if kernel:
        fused_norm.enable(model)
    _, arrays = measure(model, tmp_path)
    assert len(arrays["relu_shapes"]) == 7  # one after the first convolution, two in each block
    assert tuple(arrays["relu_shapes"][0]) == (16, 8, 8)


@pytest.mark.parametrize(
    ("family", "depth", "relus"),
    [("cifar_vgg", 11, 8), ("imagenet_resnet", 18, 17), ("bottleneck_resnet", 11, 11)],
)
def test_the_relus_of_every_network_are_seen(tmp_path, family, depth, relus):
    spec = SPEC.changed(model=family, depth=depth, dataset="synthetic", crop_padding=4)
    model = initial.build(spec)
    _, arrays = measure(model, tmp_path, spec, data(count=4, side=32), probes=("relu",))
    assert len(arrays["relu_shapes"]) == relus


def test_a_relu_that_never_fires_is_off_and_one_that_always_fires_is_not(model, tmp_path):
    with torch.no_grad():
        model.bn1.weight.zero_()
        model.bn1.bias[:4] = -1.0
        model.bn1.bias[4:] = 1.0
    scalars, arrays = measure(model, tmp_path)
    assert arrays["relu_channels_off"][0] == pytest.approx(25.0)
    assert arrays["relu_units_off"][0] == pytest.approx(25.0)
    assert list(arrays["relu_channel_zero"][:5]) == [100, 100, 100, 100, 0]
    assert arrays["relu_unit_histogram"][0][-1] == 4 * 64
    sizes = arrays["relu_shapes"].prod(1)
    overall = (arrays["relu_units_off"] * sizes).sum() / sizes.sum()
    assert scalars["trained/relu_units_off"] == pytest.approx(overall)


def test_zero_frequencies_are_over_all_inputs(model, tmp_path):
    _, arrays = measure(model, tmp_path)
    seen = []
    hook = model.bn1.register_forward_hook(lambda _m, _a, out: seen.append(out))
    model.eval()
    with torch.no_grad():
        model(data().test.images)
    hook.remove()
    expected = 100 * (seen[0] == 0).float().mean((0, 2, 3)).numpy()
    np.testing.assert_allclose(arrays["relu_channel_zero"][:16], expected, atol=1e-4)


def test_accuracy_by_class_adds_up_and_a_class_without_images_has_none(model, tmp_path):
    given = data(count=12, classes=3)
    scalars, arrays = measure(model, tmp_path, given=given)
    assert list(arrays["class_images"][:4]) == [4, 4, 4, 0]
    assert np.isnan(arrays["class_accuracy"][3:]).all()
    mean = arrays["class_accuracy"][:3].mean()
    assert mean == pytest.approx(scalars["trained/accuracy_unpruned"])


def test_feature_maps_come_from_the_first_and_last_spatial_convolution(model, tmp_path):
    _, arrays = measure(model, tmp_path)
    assert arrays["features_early"].shape == (4, 16, 8, 8)
    assert arrays["features_late"].shape == (4, 16, 2, 2)
    early = model.conv1(data().test.images[:4]).detach().numpy()
    np.testing.assert_allclose(arrays["features_early"], early, atol=0.01)
    picture = Image.open(io.BytesIO((tmp_path / results.FEATURE_MAPS).read_bytes()))
    assert picture.size == (17 * 66, 8 * 66)


@pytest.mark.parametrize(
    ("chosen", "present", "absent"),
    [
        (("bn",), "gamma", "pruned_accuracy"),
        (("pruning",), "pruned_accuracy", "gamma"),
        (("relu",), "relu_shapes", "features_early"),
        (("features",), "features_early", "class_accuracy"),
        (("classes",), "class_accuracy", "gamma"),
    ],
)
def test_each_probe_can_be_chosen_alone(model, tmp_path, chosen, present, absent):
    _, arrays = measure(model, tmp_path, probes=chosen)
    assert present in arrays
    assert absent not in arrays


def test_a_network_without_batch_norm_is_probed_for_the_rest(tmp_path):
    plain = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 10)
    )
    scalars, arrays = measure(plain, tmp_path)
    assert not any(name.startswith("trained/gamma") for name in scalars)
    assert "pruned_accuracy" not in arrays
    assert arrays["class_accuracy"].shape == (10,)
    assert arrays["features_late"].shape == (4, 4, 6, 6)


def test_short_trials_measure_on_fewer_images_evenly_spaced_and_say_so(model, tmp_path):
    given = data(count=400, train_count=500)
    assert budget(SPEC, given) == int(0.04 * (2 * 500 + 400))
    scalars, arrays = measure(model, tmp_path, given=given)
    stride = -(-400 // FEWEST_IMAGES)
    assert scalars["trained/images"] == arrays["images"] == len(range(0, 400, stride))
    assert arrays["of_images"] == 400
    chosen = ProbeImages(SPEC, given, CPU, passes=12)
    kept = torch.cat([images for images, _ in chosen.batches()])
    assert torch.equal(kept, given.test.images[::stride])


def test_trials_that_may_share_a_forward_have_a_member_s_share_of_it():
    given = data(count=400, train_count=5000)
    alone = budget(SPEC.changed(trainable="nothing", epochs=100), given)
    assert budget(SPEC.changed(trainable="output_only", epochs=100), given) == alone // LARGEST


def test_long_trials_measure_on_every_test_image(model):
    given = data(count=400, train_count=50_000)
    chosen = ProbeImages(SPEC.changed(epochs=160), given, CPU, passes=12)
    assert chosen.count == 400
    assert sum(len(labels) for _, labels in chosen.batches()) == 400


def test_a_trial_ends_with_the_probes_in_its_last_record_and_its_artifacts(tmp_path):
    spec = SPEC.changed(trainable="bn_only")
    result = train.train(spec, tmp_path, options=train.Options(data=tmp_path, device="cpu"))
    assert result.metrics["trained/gamma_below_0.01"] >= 0.0
    assert "trained/relu_units_off" in result.metrics
    sections = sorted({name.partition("/")[0] for name in result.metrics if "/" in name})
    assert sections == ["test", "train", "trained"]  # MLflow's order: the curves come first
    records = read(tmp_path / results.JOURNAL)
    assert records[-1].metrics == result.metrics
    assert not any(name.startswith("trained/") for name in records[0].metrics)
    assert (tmp_path / results.ARTIFACTS / results.PROBES).exists()
    head = (tmp_path / results.RESULT).read_text()[:16_000]
    assert '"finished_ms"' in head  # readers of a summary read only so far


def test_a_trial_can_go_without_probes(tmp_path):
    options = train.Options(data=tmp_path, device="cpu", probes=())
    result = train.train(SPEC.changed(epochs=0), tmp_path, options=options)
    assert not any(name.startswith("trained/") for name in result.metrics)
    assert not (tmp_path / results.ARTIFACTS / results.PROBES).exists()


def test_probes_that_fail_cost_the_measurements_not_the_trial(tmp_path, caplog):
    (tmp_path / results.ARTIFACTS / results.PROBES).mkdir(parents=True)
    options = train.Options(data=tmp_path, device="cpu")
    result = train.train(SPEC.changed(epochs=0), tmp_path, options=options)
    assert "test/accuracy" in result.metrics
    assert "the probes failed" in caplog.text


def test_a_resume_after_the_last_record_measures_again_to_the_same_bits(tmp_path):
    spec, options = SPEC.changed(epochs=0), train.Options(data=tmp_path, device="cpu")
    first = train.train(spec, tmp_path / "1", options=options)
    resume = checkpoint.find([tmp_path / "1"], spec)
    again = train.train(spec, tmp_path / "2", attempt=2, resume=resume, options=options)
    assert again.metrics == first.metrics
    both = [np.load(tmp_path / n / results.ARTIFACTS / results.PROBES) for n in "12"]
    for name in set(both[0]) - {"seconds"}:
        np.testing.assert_array_equal(both[0][name], both[1][name])
