"""What sweep files mean: expansion, YAML's surprises, overrides from the command line."""

import hashlib
from pathlib import Path

import pytest

from orchestrator.errors import SweepError
from orchestrator.sweep import sweep_spec
from orchestrator.sweep.resources import Resources
from orchestrator.sweep.sweep_spec import SweepSpec
from trainer.spec import TrialSpec

SWEEPS = Path(__file__).parents[3] / "sweeps"


def parse(text, *overrides):
    return sweep_spec.parse("name: a\n" + text, "f.yaml", overrides)


def values(text, *fields, overrides=()):
    return [tuple(getattr(t, f) for f in fields) for t in parse(text, *overrides).trials]


def only(text, *overrides):
    (trial,) = parse(text, *overrides).trials
    return trial


@pytest.mark.parametrize(("name", "trials"), [("quickstart", 12), ("smoke", 2)])
def test_a_shipped_sweep_has_its_trials(name, trials):
    loaded = sweep_spec.load(SWEEPS / f"{name}.yaml")
    assert loaded.name == name
    assert len({trial.trial_id for trial in loaded.trials}) == trials


def test_a_sweep_without_axes_is_one_trial():
    assert only("base: {depth: 20}") == TrialSpec(depth=20)


def test_the_order_is_the_files_with_the_last_axis_fastest_and_seeds_inside():
    text = "axes: {depth: [14, 8], trainable: [nothing, all]}\nseeds: [3, 1]"
    assert values(text, "depth", "trainable", "seed")[:5] == [
        (14, "nothing", 3),
        (14, "nothing", 1),
        (14, "all", 3),
        (14, "all", 1),
        (8, "nothing", 3),
    ]


def test_a_number_of_seeds_counts_from_zero():
    assert values("seeds: 3", "seed") == [(0,), (1,), (2,)]


def test_paired_fields_move_together_and_multiply_with_the_axes():
    text = """
axes: {depth: [8, 14]}
paired:
  - {lr: [0.1, 0.2], batch_size: [128, 256]}
  - {trainable: [all, random_k], k: [0, 2]}
"""
    found = values(text, "depth", "lr", "batch_size", "trainable", "k")
    assert len(found) == 8
    assert found[:3] == [
        (8, 0.1, 128, "all", 0),
        (8, 0.1, 128, "random_k", 2),
        (8, 0.2, 256, "all", 0),
    ]


def test_exclude_drops_what_matches_all_its_fields_and_any_of_a_lists_values():
    text = """
axes: {depth: [8, 14, 20], trainable: [all, bn_only]}
exclude: [{depth: [14, 20], trainable: all}]
"""
    assert values(text, "depth", "trainable") == [
        (8, "all"),
        (8, "bn_only"),
        (14, "bn_only"),
        (20, "bn_only"),
    ]


def test_exclude_matches_values_of_recipe_and_defaults_and_seeds_too():
    text = "recipe: digits\naxes: {depth: [8, 14]}\nseeds: 3\n"
    text += "exclude: [{dataset: digits, width: 1, seed: [1, 2], depth: 14}]"
    assert values(text, "depth", "seed") == [(8, 0), (8, 1), (8, 2), (14, 0)]


def test_an_impossible_combination_that_is_excluded_is_no_error():
    text = """
axes: {trainable: [all, random_k], k: [0, 2]}
exclude: [{trainable: all, k: 2}, {trainable: random_k, k: 0}]
"""
    assert values(text, "trainable", "k") == [("all", 0), ("random_k", 2)]


def test_include_adds_points_on_top_of_the_base_with_all_seeds_or_its_own():
    text = """
base: {width: 2}
axes: {depth: [8]}
exclude: [{width: 2, seed: 1}]
include: [{depth: 866, trainable: bn_only}, {depth: 20, seed: 7}]
seeds: 2
"""
    assert values(text, "depth", "width", "trainable", "seed") == [
        (8, 2, "all", 0),
        (866, 2, "bn_only", 0),
        (866, 2, "bn_only", 1),
        (20, 2, "all", 7),
    ]


def test_axes_in_an_entry_of_include_are_a_grid_on_top_of_the_base():
    text = """
base: {width: 2, lr: 7}
axes: {trainable: [all]}
exclude: [{lr: [7, 0.1], seed: 1}]
include:
- {axes: {depth: [14, 20], lr: [0.1, 0.01]}, trainable: bn_only}
- {axes: {depth: [26]}, seed: 9}
seeds: 2
"""
    assert values(text, "depth", "lr", "width", "trainable", "seed") == [
        (14, 7, 2, "all", 0),
        *(
            (depth, lr, 2, "bn_only", seed)
            for depth in (14, 20)
            for lr in (0.1, 0.01)
            for seed in (0, 1)
        ),
        (26, 7, 2, "all", 9),
    ]
    assert parse(text).axes == ("trainable", "depth", "lr")


def test_a_grid_in_include_is_its_points_written_out():
    grid = "include: [{trainable: all, axes: {milestones: [[1], [1, 2]], depth: [8, 14]}}]"
    points = ", ".join(
        f"{{trainable: all, milestones: {milestones}, depth: {depth}}}"
        for milestones in ([1], [1, 2])
        for depth in (8, 14)
    )
    start = "base: {epochs: 3, trainable: nothing}\n"
    assert parse(start + grid).trials == parse(f"{start}include: [{points}]").trials


def test_axes_name_all_that_varies_in_the_files_order():
    text = (
        "axes: {depth: [8]}\npaired: [{lr: [1], momentum: [0]}]\ninclude: [{width: 2, depth: 14}]"
    )
    assert parse(text).axes == ("depth", "lr", "momentum", "width")


def test_a_base_value_overrides_the_recipe_and_an_axis_the_base():
    text = "recipe: cifar10\nbase: {lr: 0.5, width: 4}\naxes: {width: [1, 2]}"
    assert values(text, "lr", "width", "batch_size") == [(0.5, 1, 128), (0.5, 2, 128)]


def test_a_recipe_is_never_part_of_an_id():
    with_recipe = only("recipe: digits")
    by_hand = only(f"base: {{{', '.join(f'{k}: {v}' for k, v in _digits().items())}}}")
    assert with_recipe.trial_id == by_hand.trial_id


def _digits():
    return only("recipe: digits").identity_fields()


def test_imagenets_milestones_go_with_its_length_and_schedule_only():
    assert only("recipe: imagenet").milestones == (30, 60, 80)
    assert only("recipe: imagenet\nbase: {epochs: 20}").milestones == (10, 15)
    assert only("recipe: imagenet\nbase: {schedule: cosine}").milestones == ()


@pytest.mark.parametrize(
    "text",
    [
        "base: {train_subset: 3000, lr: 0.001, flip: false, trainable: nothing}",
        "base: {train_subset: 3e3, lr: 1e-3, flip: off, trainable: nothing}",
        "base: {train_subset: 3000.0, lr: 1.0e-03, flip: no, trainable: 'nothing'}",
        "base: {trainable: nothing, flip: False, lr: .001, train_subset: 3_000}",
        "base: &b {lr: 0.001, flip: off, train_subset: 3000}\n"
        "include: [{<<: *b, trainable: nothing}]\nexclude: [{trainable: all}]",
        "base: {train_subset: 3000, lr: 0.001, flip: false, trainable: nothing, width: 1, k: 0, "
        "epochs: 160, milestones: [80, 120], nesterov: off, model: cifar_resnet}",
    ],
)
def test_one_trial_has_one_id_however_it_is_written(text):
    assert only(text).trial_id == only("base: {lr: 1e-3, flip: off, train_subset: 3e3, "
                                       "trainable: nothing}").trial_id  # fmt: skip


def test_words_that_yaml_would_turn_into_something_else_are_read_as_meant():
    assert only("base: {dataset: imagenet, model: imagenet_resnet, depth: 18, data_id: 014}"
                ).data_id == "014"  # fmt: skip
    assert parse("resources: {pack: off}").resources.pack == "off"
    assert only("base: {normalisation: none}").normalisation == "none"


@pytest.mark.parametrize(
    ("text", "resources"),
    [
        ("{}", Resources(1, "auto", pack="auto")),
        ("{cpus: 2, gpus: 0, pack: 4}", Resources(2, 0.0, pack=4)),
        ("{gpus: 1}", Resources(1, 1.0)),
        ("{gpus: 2}", Resources(1, 2.0)),
        ("{gpus: 2, processes: 2}", Resources(1, 2.0, 2)),
        ("{gpus: 0, processes: 4}", Resources(1, 0.0, 4)),
        ("{gpus: 0.25}", Resources(1, 0.25)),
        ("{gpus: 1/3}", Resources(1, 1 / 3)),
        ("{gpus: 0.3333}", Resources(1, 1 / 3)),
        ("{gpus: auto, pack: auto}", Resources()),
        ("{kernels: stock, graphs: on}", Resources(kernels="stock")),
        ("{kernels: auto, graphs: off}", Resources(graphs=False)),
        ("{decoders: 14, decoder: pil}", Resources(decoders=14, decoder="pil")),
        ("{decoders: auto, decoder: auto}", Resources()),
        ("{checkpoint_every: 90s}", Resources(checkpoint_every="90s")),
        ("{checkpoint_every: off}", Resources(checkpoint_every="off")),
        ("{checkpoint_every: 10m}", Resources()),
        ("{wait: 15m}", Resources(wait="15m")),
        ("{wait: off}", Resources()),
        ("{at_once: 8}", Resources(at_once=8)),
        ("{at_once: off}", Resources()),
        ("{gpu_type: H100}", Resources(gpu_type=("H100",))),
        ("{gpu_type: [H100, RTX-PRO-6000]}", Resources(gpu_type=("H100", "RTX-PRO-6000"))),
        ("{gpu_type: []}", Resources()),
        ("{memory: auto}", Resources(memory="auto")),
        ("{memory: off}", Resources()),
    ],
)
def test_resources_are_read(text, resources):
    base = "base: {bn_batch: 32}"  # four groups to share
    assert parse(f"{base}\nresources: {text}").resources == resources


@pytest.mark.parametrize(("every", "seconds"), [("off", None), ("90s", 90), ("2h", 7200)])
def test_the_time_between_checkpoints_in_seconds(every, seconds):
    assert Resources(checkpoint_every=every).checkpoint_every_s == seconds
    changed = parse("", f"resources.checkpoint_every={every}")
    assert changed.resources.checkpoint_every_s == seconds


def test_set_replaces_the_values_of_an_axis():
    text = "axes: {depth: [8, 20], trainable: [all, bn_only]}"
    found = values(text, "depth", "trainable", overrides=["depth=14,32"])
    assert found == [(14, "all"), (14, "bn_only"), (32, "all"), (32, "bn_only")]


def test_set_gives_a_base_value_or_makes_an_axis_of_several():
    assert only("base: {lr: 0.1}", "lr=0.2", "epochs=2").milestones == (1,)
    assert values("base: {lr: 0.1}", "lr", overrides=["lr=0.2,1e-3"]) == [(0.2,), (0.001,)]
    assert values("base: {lr: 0.1}", "lr", overrides=["lr=[0.2, 0.3]"]) == [(0.2,), (0.3,)]


def test_set_reads_a_list_field_as_one_value():
    assert only("base: {epochs: 9}", "milestones=2,3").milestones == (2, 3)
    assert only("base: {epochs: 9}", "milestones=[2, 3]").milestones == (2, 3)
    assert only("base: {epochs: 9}", "milestones=[]").milestones == ()
    found = values("base: {epochs: 9}", "milestones", overrides=["milestones=[2],[3]"])
    assert found == [((2,),), ((3,),)]


def test_set_changes_everything_else_that_is_no_list_of_mappings():
    changed = parse(
        "seeds: 2",
        "name=b",
        "description=two words, a comma",
        "recipe=digits",
        "seeds=4,5",
        "retries=0",
        "resources.gpus=0",
        "resources.cpus=2",
    )
    assert (changed.name, changed.description) == ("b", "two words, a comma")
    assert [trial.seed for trial in changed.trials] == [4, 5]
    assert changed.trials[0].dataset == "digits"
    assert (changed.retries, changed.resources) == (0, Resources(2, 0.0))
    assert len(changed.overrides) == 7


def test_of_two_overrides_of_one_key_the_later_counts():
    assert only("", "lr=0.2", "lr=0.3").lr == 0.3


def test_an_exclusion_of_values_that_set_replaced_is_no_error():
    text = "axes: {depth: [8, 110]}\nexclude: [{depth: 110}]"
    assert values(text, "depth", overrides=["depth=14"]) == [(14,)]


def test_pretrained_weights_enter_by_content(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"weights")
    (tmp_path / "s.yaml").write_text("name: a\nbase: {weights_file: w.pt}\n")
    loaded = sweep_spec.load(tmp_path / "s.yaml")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert (loaded.trials[0].weights, loaded.trials[0].weights_sha256) == ("pretrained", sha256)
    assert loaded.files == {sha256: tmp_path / "w.pt"}
    by_hash = only(f"base: {{weights: pretrained, weights_sha256: {sha256}}}")
    assert by_hash.trial_id == loaded.trials[0].trial_id


def test_the_text_and_the_overrides_rebuild_the_sweep():
    first = parse("axes: {depth: [8, 14]}", "epochs=3")
    again = sweep_spec.parse(first.source, "stored", first.overrides)
    assert again.trials == first.trials


def test_the_most_trials_that_are_allowed_expand():
    with pytest.raises(SweepError, match="100,100 trials"):
        parse("axes: {depth: [8, 14]}\nseeds: 50_050")
    assert len(parse("seeds: 5000").trials) == 5000


def test_a_grid_in_include_counts_with_its_own_seed_once():
    widths = list(range(2, 103))
    text = f"include: [{{seed: 9, axes: {{width: {widths}}}}}]\nseeds: 9_000"
    assert len(parse(text).trials) == 9_101


def test_an_impossible_depth_is_reported_beside_the_files_other_mistakes():
    text = "name: x\nbase: {depht: 14}\naxes: {depth: [13, 14]}\ninclude: [{depth: 9}]\n"
    with pytest.raises(SweepError) as caught:
        sweep_spec.parse(text, "x.yaml")
    assert caught.value.lines[1:] == (
        "x.yaml:3: axes.depth: found 13; allowed for cifar_resnet: 6D+2, the nearest 8 and 14",
        "x.yaml:4: include[0].depth: found 9; allowed for cifar_resnet: 6D+2, the nearest 8 and 14",
    )


def test_a_depth_is_not_judged_by_a_model_that_is_itself_a_mistake():
    text = "name: x\nbase: {model: cifar_vg}\naxes: {depth: [16, 19]}\n"
    with pytest.raises(SweepError) as caught:
        sweep_spec.parse(text, "x.yaml")
    assert len(caught.value.lines) == 1


@pytest.mark.parametrize(
    "text",
    [
        "axes: {depth: [8, 14], lr: [1, 1e-3]}\npaired: [{trainable: [all, random_k], k: [0, 2]}]",
        "description: two\nbase: {milestones: [], epochs: 3}\nseeds: [3, 1]\nretries: 0",
        "base: {milestones: [1, 2], epochs: 4}\nresources: {gpus: 1/3, pack: 4, graphs: on}",
        "recipe: imagenet\nresources: {cpus: 2, gpus: 1, pack: off, kernels: fused}",
    ],
)
def test_a_sweep_comes_back_from_its_json_as_it_was(text, tmp_path):
    spec = parse(text, "nesterov=on").model_copy(update={"files": {"0" * 64: tmp_path / "w.pt"}})
    again = SweepSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert [trial.trial_id for trial in again.trials] == [trial.trial_id for trial in spec.trials]


ZOO = "base: {dataset: image_folder, data_id: zoo, image_size: 32%s}\n"


@pytest.mark.parametrize("inside", ["zoo", "zoo/ILSVRC/Data/CLS-LOC"])
def test_classes_of_a_folder_of_images_are_counted_where_they_are_left_out(
    tmp_path, monkeypatch, inside
):
    for name in ("ant", "bee", "cat"):
        (tmp_path / inside / "train" / name).mkdir(parents=True)
    monkeypatch.setenv("BNSWEEP_DATA", str(tmp_path))
    counted = only(ZOO % "")
    assert counted == only(ZOO % ", classes: 3")  # the same trial, with the same id
    assert only(ZOO % ", classes: 4").classes == 4
    file = tmp_path / "s.yaml"
    file.write_text("name: a\n" + ZOO % "")
    monkeypatch.setenv("BNSWEEP_DATA", str(tmp_path / "elsewhere"))
    assert sweep_spec.load(file, data=tmp_path).trials == (counted,)


def test_classes_that_cannot_be_counted_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("BNSWEEP_DATA", str(tmp_path))
    with pytest.raises(SweepError) as caught:
        parse(ZOO % "")
    assert str(caught.value) == (
        "f.yaml:2: classes: image_folder needs the number of classes, at least 2; "
        f"{tmp_path}/zoo/train has no folders of classes to count: write how many it has "
        "(classes: 10), or name the data folder (BNSWEEP_DATA, --data)"
    )
