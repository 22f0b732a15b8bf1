from made_results import made, status

from orchestrator.reporting.replicates import gather, varied
from orchestrator.reporting.tables import accuracy_table
from trainer.spec import TrialSpec

BASE = TrialSpec(epochs=2)


def grid(**axes):
    specs = [BASE]
    for name, values in axes.items():
        specs = [spec.changed(**{name: value}) for spec in specs for value in values]
    return specs


def test_rows_are_depths_and_columns_are_modes():
    specs = grid(depth=[14, 32], trainable=["all", "bn_only"], seed=[0, 1])
    accuracy = {"all": 90.0, "bn_only": 48.0}
    results = [made(s, accuracy[s.trainable] + s.depth / 10 + s.seed) for s in specs]
    found = accuracy_table(specs, results, map(status, specs))
    assert found.columns == ["depth", "all", "bn_only"]
    assert found.rows == [
        ["14", "91.9 ± 0.7 (2)", "49.9 ± 0.7 (2)"],
        ["32", "93.7 ± 0.7 (2)", "51.7 ± 0.7 (2)"],
    ]
    assert found.notes == []


def test_axes_other_than_depth_and_mode_make_rows_too():
    specs = grid(lr=[0.1, 0.05], width=[1, 2])
    found = accuracy_table(specs, [made(s, 50 + s.width) for s in specs], map(status, specs))
    assert found.columns == ["width", "lr", "test accuracy"]
    assert ["2", "0.05", "52.0 (1)"] in found.rows


def test_one_configuration_is_one_row():
    found = accuracy_table([BASE], [made(BASE, 48.0)], [status(BASE)])
    assert found.rows == [["cifar_resnet", "48.0 (1)"]]


def test_random_k_shows_its_k():
    specs = [BASE.changed(trainable="random_k", k=k) for k in (1, 2)]
    found = accuracy_table(specs, [made(s) for s in specs], map(status, specs))
    assert found.columns == ["model", "random_1", "random_2"]


def test_a_cell_says_how_many_seeds_are_missing():
    specs = grid(seed=[0, 1, 2])
    found = accuracy_table(specs, [made(specs[0], 48.0)], map(status, specs))
    assert found.rows == [["cifar_resnet", "48.0 (1 of 3)"]]


def test_a_cell_without_a_result_says_the_states():
    specs = grid(seed=[0, 1, 2])
    states = [status(specs[0], "failed"), status(specs[1], "failed"), status(specs[2], "running")]
    assert accuracy_table(specs, [], states).rows == [["cifar_resnet", "2 failed, running"]]


def test_a_combination_that_the_sweep_leaves_out_is_a_dash():
    specs = [BASE, BASE.changed(depth=32, trainable="bn_only")]
    found = accuracy_table(specs, [made(s) for s in specs], map(status, specs))
    assert found.rows == [["14", "50.0 (1)", "–"], ["32", "–", "50.0 (1)"]]


def test_results_of_other_code_are_shown_apart_and_never_averaged():
    specs = grid(seed=[0, 1])
    results = [made(specs[0], 10.0, code="a" * 64), made(specs[1], 90.0, code="b" * 64)]
    found = accuracy_table(specs, results, map(status, specs))
    assert found.rows[0][1] == (
        "10.0 (1 of 2, code aaaaaaaa data dddddddd); 90.0 (1 of 2, code bbbbbbbb data dddddddd)"
    )
    assert found.notes == ["results of 2 versions of the code: not averaged together"]


def test_results_from_other_data_are_flagged():
    specs = grid(seed=[0, 1])
    results = [made(specs[0], data="a" * 64), made(specs[1], data="b" * 64)]
    assert len(gather(results)) == 2
    assert "2 versions of the data" in accuracy_table(specs, results, map(status, specs)).notes[0]


def test_types_of_gpus_are_noted_and_more_so_between_the_modes_of_a_seed():
    specs = grid(trainable=["all", "bn_only"], seed=[0, 1])
    on = {name: {"device": "cuda", "device_name": f"NVIDIA {name}"} for name in ("A100", "H100")}

    def notes_of(*names):
        results = [made(spec, **on[name]) for spec, name in zip(specs, names, strict=True)]
        return accuracy_table(specs, results, map(status, specs)).notes

    both = "results of 2 types of device: NVIDIA A100, NVIDIA H100"
    assert notes_of("A100", "A100", "A100", "A100") == []
    assert notes_of("A100", "H100", "A100", "H100") == [both]
    first, second = notes_of("A100", "A100", "A100", "H100")
    assert first == both
    assert second.startswith("of 1 networks and seeds the modes were computed on different types:")


def test_cpus_of_several_names_are_one_type_beside_gpus():
    specs = grid(seed=[0, 1])
    names = ("Xeon", "EPYC")
    results = [made(s, device_name=name) for s, name in zip(specs, names, strict=True)]
    assert accuracy_table(specs, results, map(status, specs)).notes == []
    results[1] = made(specs[1], device="cuda", device_name="NVIDIA L4")
    (note,) = accuracy_table(specs, results, map(status, specs)).notes
    assert note == "results of 2 types of device: CPU, NVIDIA L4"


def test_a_result_without_exact_resume_is_noted():
    assert "1 resumed" in accuracy_table([BASE], [made(BASE, exact=False)], [status(BASE)]).notes[0]


def test_milestones_that_follow_the_epochs_are_no_axis():
    assert varied(grid(epochs=[2, 4, 8])) == ["epochs"]
    explicit = [BASE.changed(epochs=8, milestones=m) for m in ([2], [4])]
    assert varied(explicit) == ["milestones"]
