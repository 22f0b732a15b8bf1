"""The best configurations: means over whole seeds, by validation; a sweep that tries them anew."""

from __future__ import annotations

import pytest
from made_results import made

from orchestrator.errors import UserError
from orchestrator.reporting.best import choose
from orchestrator.reporting.compare import compare
from orchestrator.reporting.replicates import varied
from orchestrator.store.records import Launch
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec
from trainer import files, results
from trainer.spec import TrialSpec

RATES = (0.01, 0.1, 1.0)
VALIDATED = {
    ("all", 0.01): (60.0, 62.0),
    ("all", 0.1): (70.0, 72.0),
    ("all", 1.0): (90.0, 40.0),  # the luckiest seed, and the worst mean but one
    ("bn_only", 0.01): (20.0, 21.0),
    ("bn_only", 0.1): (30.0, 31.0),
    ("bn_only", 1.0): (40.0, 42.0),
}
TEXT = """
name: rates
base: {epochs: 2, validation: 5000}
axes: {trainable: [all, bn_only], lr: [0.01, 0.1, 1]}
seeds: 2
resources: {cpus: 2, gpus: 1/3, checkpoint_every: off}
retries: 1
"""


@pytest.fixture
def rates(store) -> Store:
    """A finished sweep of two modes, three rates and two seeds; test accuracies rise with lr."""
    record(store, TEXT)
    return store


def everything(_: TrialSpec) -> bool:
    return True


def nothing(_: TrialSpec) -> bool:
    return False


def record(store: Store, text: str, finished=everything) -> None:
    sweep = sweep_spec.parse(text, "f.yaml")
    store.record_launch(Launch(sweep=sweep, number=0, time_ms=0, host="here"))
    for spec in filter(finished, sweep.trials):
        value = VALIDATED[spec.trainable, spec.lr][spec.seed]
        finish(store, spec, {"validation/accuracy": value} if spec.validation else {})


def finish(store: Store, spec: TrialSpec, metrics, **options) -> None:
    folder = store.trial_folder(spec.trial_id)
    folder.mkdir(parents=True)
    result = made(spec, 50 + 10 * spec.lr, metrics=metrics, **options)
    results.write(folder / results.RESULT, result)
    files.write_json(folder / results.SPEC, spec)


def chosen(choice) -> dict[str, float]:
    return {each.point["trainable"]: each.group.spec.lr for each in choice.best}


def test_each_mode_has_its_own_best_rate_by_the_mean_over_seeds(rates):
    choice = choose(rates, "rates")
    assert chosen(choice) == {"all": 0.1, "bn_only": 1.0}
    table = choice.table()
    assert table.columns == ["trainable", "lr", "validation accuracy", "test accuracy", "of"]
    assert table.rows[0] == ["all", "0.1", "71.0 ± 12.7 (2)", "51.0 ± 0.0 (2)", "3"]
    assert "bn_only: lr 1 is at the end of what was tried" in table.notes
    assert not any("all" in note for note in table.notes)


def test_the_best_of_another_field_and_of_several(rates):
    by_rate = choose(rates, "rates", ["lr"])
    assert [(each.point["lr"], each.group.spec.trainable) for each in by_rate.best] == [
        ("0.01", "all"), ("0.1", "all"), ("1", "all"),
    ]  # fmt: skip
    assert by_rate.best[2].group.spec.lr == 1.0
    both = choose(rates, "rates", ["lr", "trainable"])
    assert [each.of for each in both.best] == [1] * 6


def test_json_has_every_number_unrounded(rates):
    said = choose(rates, "rates").to_json()
    assert (said["metric"], said["by"]) == ("validation/accuracy", ["trainable"])
    first, second = said["best"]
    assert first["point"] == {"trainable": "all"}
    assert first["fields"] == {"lr": 0.1}
    assert first["estimates"]["validation/accuracy"]["mean"] == 71.0
    assert first["estimates"]["test/accuracy"]["n"] == 2
    assert second["ends"] == ["lr"]


def test_a_configuration_without_all_its_seeds_is_not_compared(store):
    record(store, TEXT, lambda spec: (spec.trainable, spec.lr, spec.seed) != ("all", 0.1, 1))
    choice = choose(store, "rates")
    assert chosen(choice)["all"] == 1.0
    assert "1 configurations lack seeds and were not compared" in choice.notes
    begun = TEXT.replace("name: rates", "name: begun").replace("epochs: 2", "epochs: 3")
    record(store, begun, nothing)
    with pytest.raises(UserError, match="sweep begun: no configuration has finished all its seeds"):
        choose(store, "begun")


def test_seeds_that_other_code_trained_do_not_make_a_configuration_whole(store):
    record(store, TEXT, lambda spec: (spec.trainable, spec.lr, spec.seed) != ("all", 0.1, 1))
    other = TrialSpec(epochs=2, validation=5000, lr=0.1, seed=1)
    finish(store, other, {"validation/accuracy": 99.0}, code="e" * 64)
    choice = choose(store, "rates")
    assert chosen(choice)["all"] == 1.0
    assert "results of 2 versions of the code: not averaged together" in choice.notes


def test_test_images_choose_only_where_that_is_said(store):
    record(store, TEXT.replace(", validation: 5000", ""))
    with pytest.raises(UserError, match=r"12 of its 12 trials keep no images .*--on-test-images"):
        choose(store, "rates")
    choice = choose(store, "rates", on_test_images=True)
    assert chosen(choice) == {"all": 1.0, "bn_only": 1.0}
    assert choice.table().columns == ["trainable", "lr", "test accuracy", "of"]
    assert "chosen by the test images" in choice.notes[0]


def test_one_seed_is_said_to_be_luck(store):
    record(store, TEXT.replace("seeds: 2", "seeds: 1"))
    choice = choose(store, "rates")
    assert chosen(choice)["all"] == 1.0
    assert "one seed each: the choice rests on its luck" in choice.notes


def test_a_field_that_does_not_vary_is_refused_with_those_that_do(rates):
    with pytest.raises(UserError, match=r"--by lrr: .* did you mean lr\?; allowed: lr, trainable"):
        choose(rates, "rates", ["lrr"])


# --- beside another sweep -------------------------------------------------------------------------


@pytest.fixture
def wider(rates) -> str:
    """The name of another sweep beside `rates`, of width 2, whose best rates are as there."""
    text = TEXT.replace("name: rates", "name: wider").replace("epochs: 2", "epochs: 2, width: 2")
    record(rates, text)
    return "wider"


def test_each_mode_of_each_sweep_is_compared_by_its_own_best_rate(rates, wider):
    found = compare(rates, ["rates", wider], best=True)
    assert [row.point for row in found.rows] == [{"trainable": "all"}, {"trainable": "bn_only"}]
    assert [[e.mean for e in row.estimates] for row in found.rows] == [[51.0, 51.0], [60.0, 60.0]]
    assert found.rows[0].differences[0].n == 2
    notes = found.table().notes
    assert "rates: all: lr 0.1: the best of 3" in notes
    assert "wider: bn_only: lr 1: the best of 3" in notes
    chosen = found.to_json()["chosen"]
    assert [[each["fields"]["lr"] for each in side] for side in chosen] == [[0.1, 1.0]] * 2
    assert compare(rates, ["rates", wider]).to_json()["chosen"] == []


def test_the_best_of_two_modes_of_one_sweep_are_one_row_though_their_rates_differ(rates):
    found = compare(rates, ["rates:all", "rates:bn_only"], best=True)
    (row,) = found.rows
    assert row.point == {}
    assert row.differences[0].mean == pytest.approx(9.0)
    assert found.differs == {"lr": ("0.1", "1"), "trainable": ("all", "bn_only")}


def test_where_says_among_which_the_best_is_chosen(rates, wider):
    where = {"lr": {"0.01", "1"}}
    found = compare(rates, ["rates", wider], where=where, best=True)
    assert "rates: all: lr 1: the best of 2" in found.table().notes
    with pytest.raises(UserError, match="rates: no configuration has lr=3"):
        compare(rates, ["rates", wider], where={"lr": {"3"}}, best=True)


def test_the_best_are_not_compared_by_test_images_unless_that_is_said(rates):
    record(rates, TEXT.replace(", validation: 5000", "").replace("name: rates", "name: plain"))
    with pytest.raises(UserError, match=r"sweep plain: 12 of its 12 trials .*--on-test-images"):
        compare(rates, ["rates", "plain"], best=True)
    found = compare(rates, ["rates", "plain"], best=True, on_test_images=True)
    assert [[e.mean for e in row.estimates] for row in found.rows] == [[60.0, 60.0]] * 2
    assert any(note.startswith("plain: chosen by the test images") for note in found.table().notes)


def test_only_sweeps_have_a_best(rates):
    config_id = TrialSpec(epochs=2, validation=5000).config_id
    with pytest.raises(UserError, match=f"sweep {config_id}: not in"):
        compare(rates, ["rates", config_id], best=True)


# --- the follow-up --------------------------------------------------------------------------------


def test_the_follow_up_has_the_chosen_configurations_with_new_seeds(rates):
    choice = choose(rates, "rates")
    text = choice.follow_up("again", 3)
    sweep = sweep_spec.parse(text, "again.yaml")
    assert sweep.name == "again"
    expected = [each.group.spec.changed(seed=seed) for each in choice.best for seed in (2, 3, 4)]
    assert list(sweep.trials) == expected
    assert sweep.axes == ("trainable", "lr")
    earlier = choice.launch.sweep
    assert (sweep.resources, sweep.retries) == (earlier.resources, earlier.retries)


@pytest.mark.parametrize(
    "values",
    [
        "{trainable: random_k, k: 2, lr: 0.1}",
        "{schedule: cosine, warmup_epochs: 1, nesterov: true}",
        "{milestones: [1], lr_decay: 0.5}",
        "{milestones: []}",
        "{bn_batch: 128, batch_size: 256}",
        "{model: torchvision/resnet18, dataset: cifar10, options: {resize: 64, norm: x}}",
        "{model: cifar_vgg, depth: 11, width: 3}",
    ],
)
def test_whatever_the_configurations_are_the_follow_up_means_them(values, store):
    text = (
        f"name: odd\nbase: {{epochs: 2, validation: 100, lr: 1}}\n"
        f"include: [{values}, {{lr: 0.5}}]\naxes: {{trainable: [bn_only]}}\n"
    )
    sweep = sweep_spec.parse(text, "f.yaml")
    store.record_launch(Launch(sweep=sweep, number=0, time_ms=0, host="here"))
    for spec in sweep.trials:
        finish(store, spec, {"validation/accuracy": 50.0})
    choice = choose(store, "odd", varied(sweep.trials))
    assert {each.of for each in choice.best} == {1}
    again = sweep_spec.parse(choice.follow_up("again", 1), "again.yaml")
    assert list(again.trials) == [each.group.spec.changed(seed=1) for each in choice.best]


def test_files_are_named_by_their_paths(store, tmp_path):
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"weights")
    text = f"name: files\nbase: {{epochs: 2, validation: 100, weights_file: {weights}}}\nseeds: 2\n"
    sweep = sweep_spec.parse(text, "f.yaml")
    store.record_launch(Launch(sweep=sweep, number=0, time_ms=0, host="here"))
    for spec in sweep.trials:
        finish(store, spec, {"validation/accuracy": 50.0})
    text = choose(store, "files").follow_up("again", 1)
    assert str(weights) in text
    again = sweep_spec.parse(text, "again.yaml")
    assert again.files == sweep.files
    assert list(again.trials) == [sweep.trials[0].changed(seed=2)]
