import csv
import html
import io
import re

import numpy as np
import pytest
from made_results import made

from orchestrator.errors import UserError
from orchestrator.planning import costs
from orchestrator.reporting import csv_tables, report, sweep_results, verdicts
from orchestrator.reporting.figures import drawing
from orchestrator.reporting.figures.training import over_training
from orchestrator.reporting.published import published
from orchestrator.reporting.replicates import gather
from orchestrator.store.failures import Failure
from orchestrator.store.folder import ATTEMPTS, ERROR
from orchestrator.store.records import Launch
from orchestrator.store.store import Store
from trainer import files, results
from trainer.spec import TrialSpec


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.open_for_writing()
    return store


def launch(store, specs, name="depth"):
    trials = tuple(spec.identity_fields() for spec in specs)
    store.record_launch(
        Launch(
            sweep={"name": name, "trials": trials, "source": "name: <depth>"},
            number=0,
            time_ms=0,
            host="here",
        )
    )


def finish(store, spec, accuracy, arrays=None, **options):
    folder = store.trial_folder(spec.trial_id)
    folder.mkdir(parents=True)
    result = made(spec, accuracy, **options).model_copy(update={"counts": costs.counts(spec)})
    files.write_json(folder / results.SPEC, spec)
    results.write(folder / results.RESULT, result)
    if arrays:
        artifacts = folder / ATTEMPTS / "1" / results.ARTIFACTS
        artifacts.mkdir(parents=True)
        np.savez_compressed(artifacts / results.PROBES, **arrays)


def fail(store, spec, cause):
    folder = store.trial_folder(spec.trial_id) / ATTEMPTS / "1"
    folder.mkdir(parents=True)
    files.write_json(folder / ERROR, Failure(failure="diverged", cause=cause))


def grid(**fields):
    base = TrialSpec(epochs=2, **fields)
    return [
        base.changed(depth=d, trainable=m, seed=s)
        for d in (14, 32)
        for m in ("all", "bn_only")
        for s in (0, 1)
    ]


def probed(seed):
    draw = np.random.default_rng(seed)
    return {
        "gamma": draw.normal(0, 0.5, 200),
        "beta": draw.normal(0, 0.2, 200),
        "prune_thresholds": np.array([0.001, 0.01, 0.1]),
        "pruned_accuracy": np.array([50.0, 49.0, 20.0 + seed]),
        "images": np.array(50),
        "of_images": np.array(360),
        "features_early": draw.random((2, 16, 8, 8)),
        "features_late": draw.random((2, 16, 2, 2)),
        "class_accuracy": np.linspace(10, 100, 10),
        "class_images": np.full(10, 5.0),
    }


def build(store, out):
    """The report on `depth`, written into `out`; its index.html."""
    return report.build(sweep_results.read(store, "depth"), out)


def rows(out, name):
    return list(csv.DictReader(io.StringIO((out / f"{name}.csv").read_text())))


@pytest.fixture(scope="module")
def finished_store(tmp_path_factory):
    """A finished sweep of two depths, two modes and two seeds."""
    store = Store(tmp_path_factory.mktemp("store"))
    store.open_for_writing()
    specs = grid()
    launch(store, specs)
    accuracy = {"all": 60.0, "bn_only": 30.0}
    for spec in specs:
        metrics = {"trained/gamma_below_0.01": 9.0 + spec.seed, "trained/relu_units_off": 3.0}
        value = accuracy[spec.trainable] + spec.depth / 4 + spec.seed / 10
        finish(store, spec, value, probed(spec.seed), metrics=metrics)
    return store


@pytest.fixture(scope="module")
def finished(finished_store, tmp_path_factory):
    """The folder of its report."""
    return build(finished_store, tmp_path_factory.mktemp("out")).parent


def test_the_page_is_one_file_that_refers_to_nothing_outside(finished):
    text = (finished / "index.html").read_text()
    references = re.findall(r'(?:src|href)="([^"]*)"', text)
    anchors = {f"#{name}" for name in re.findall(r'id="([^"]*)"', text)}
    outside = [reference for reference in references if reference not in anchors]
    assert len(anchors) == 4
    assert anchors < set(references)
    assert outside
    assert all(reference.startswith("data:image/svg+xml;base64,") for reference in outside)
    assert "http" not in text.replace("http-equiv", "")
    assert "name: &lt;depth&gt;" in text


def test_every_figure_lies_beside_the_page_as_png_and_svg(finished):
    names = {path.stem for path in finished.glob("*.svg")}
    assert names == {path.stem for path in finished.glob("*.png")}
    assert names == {
        "accuracy_depth",
        "accuracy_bn_parameters",
        "accuracy_total_parameters",
        "training_curves",
        "gamma_histogram",
        "beta_histogram",
        "disabled_features",
        "pruning",
        "feature_maps",
    }
    assert all(path.stat().st_size < 200_000 for path in finished.glob("*.png"))


def test_the_page_has_the_accuracy_table_and_names_the_protocol(finished):
    text = (finished / "index.html").read_text()
    assert "<td>63.5 ± 0.1 (2)</td>" in text
    assert "epochs 2 (paper: 160)" in text
    assert "Measured on 50 of 360 test images." in text
    assert "Not complete" not in text
    assert "8 published parameter counts, 8 equal to ours" in text


def test_the_page_says_when_from_which_code_and_at_what_cost(finished, finished_store):
    text = (finished / "index.html").read_text()
    launched = finished_store.newest_launch("depth")
    assert f"launch {launched.number} on {launched.host}" in text
    assert launched.commit in text
    assert "summed over 8 trials" in text
    assert "bnsweep ui depth" in text


def test_what_was_measured_inside_the_networks_has_a_heading_of_its_own(finished):
    text = (finished / "index.html").read_text()
    accuracy, inside, paper = (
        text.index(f">{title}</h2>")
        for title in ("Accuracy", "Inside the networks", "Against the paper")
    )
    for name in ("accuracy_depth", "training_curves"):
        assert accuracy < text.index(f"({name}.svg") < inside
    for name in ("gamma_histogram", "pruning"):
        assert inside < text.index(f"({name}.svg") < paper


def test_the_page_tells_the_validation_accuracy_apart_from_the_test_accuracy(store, tmp_path):
    specs = grid(validation=5000)[:4]
    launch(store, specs)
    for spec in specs[:3]:
        finish(store, spec, 61.0, metrics={"validation/accuracy": 64.0 + spec.seed})
    out = build(store, tmp_path / "out").parent
    text = (out / "index.html").read_text()
    assert "Validation: 5,000 of the training images" in text
    assert "Validation accuracy in %" in text
    assert "<td>64.5 ± 0.7 (2)</td>" in text
    assert "<td>61.0 ± 0.0 (2)</td>" in text
    assert "validation 5000 (paper: 0)" in text
    (row,) = {
        r["mean"]
        for r in rows(out, "configurations")
        if r["metric"] == "validation/accuracy" and r["mode"] == "all"
    }
    assert float(row) == 64.5
    assert {trial["validation"] for trial in rows(out, "trials")} == {"5000"}
    assert rows(out, "trials")[0]["validation/accuracy"] == "64.0"


def test_the_page_of_a_sweep_without_validation_says_nothing_of_it(finished):
    assert "alidation" not in (finished / "index.html").read_text()


def test_csv_tables_hold_every_number(finished):
    trials = rows(finished, "trials")
    assert len(trials) == 8
    assert {trial["state"] for trial in trials} == {"finished"}
    accuracy = [r for r in rows(finished, "configurations") if r["metric"] == "test/accuracy"]
    assert (accuracy[0]["depth"], accuracy[0]["mode"], accuracy[0]["n"]) == ("14", "all", "2")
    assert float(accuracy[0]["mean"]) == pytest.approx(63.55)
    assert [r["epoch"] for r in rows(finished, "curves")][:3] == ["0", "1", "2"]
    assert len(rows(finished, "classes")) == 80
    assert {r["verdict"] for r in rows(finished, "verdicts")} == {
        "reproduced",
        "other protocol",
        "not run",
    }
    holds = {r["statement"]: r["outcome"] for r in rows(finished, "statements")}
    assert holds["bn_only rises with depth"] == "holds"
    unmapped = rows(finished, "unmapped")
    assert unmapped
    assert all(row["reason"] for row in unmapped)


def test_the_same_results_give_the_same_bytes(finished, finished_store, tmp_path):
    again = build(finished_store, tmp_path / "again").parent
    for path in finished.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_report_of_an_unfinished_sweep_says_what_is_missing_and_why(store, tmp_path):
    specs = grid()
    launch(store, specs)
    finish(store, specs[0], 60.0)
    fail(store, specs[1], "loss not finite in epoch 2, step 7")
    text = build(store, tmp_path / "out").read_text()
    assert "8 trials: 1 finished, 1 failed, 6 pending." in text
    assert "7 trials have no result" in text
    assert "loss not finite in epoch 2, step 7" in text
    assert "60.0 (1 of 2)" in text


def test_a_report_before_the_first_result_is_a_page_without_figures(store, tmp_path):
    launch(store, grid())
    out = build(store, tmp_path / "out").parent
    assert not list(out.glob("*.png"))
    assert "8 pending" in (out / "index.html").read_text()


def test_a_sweep_that_was_never_launched_is_the_user_s_mistake(store):
    launch(store, grid())
    with pytest.raises(UserError, match=r"sweep width: not in .*; did you mean depth\?"):
        sweep_results.read(store, "width")


def test_categories_and_other_numbers_get_figures_of_their_own(store, tmp_path):
    specs = [
        TrialSpec(epochs=1, trainable="bn_only", bn_init=b, lr=lr)
        for b in ("uniform", "oneone")
        for lr in (0.01, 0.1)
    ]
    launch(store, specs)
    for spec in specs:
        finish(store, spec, 40.0)
    out = build(store, tmp_path / "out").parent
    names = {path.stem for path in out.glob("*.png")}
    assert names == {"accuracy_by_bn_init", "accuracy_lr", "training_curves"}


def test_a_sweep_that_is_not_the_paper_s_has_no_empty_tables_of_the_paper(store, tmp_path):
    specs = [TrialSpec(dataset="digits", lr=lr, epochs=1) for lr in (0.01, 0.1)]
    launch(store, specs)
    for spec in specs:
        finish(store, spec, 40.0)
    text = build(store, tmp_path / "out").read_text()
    assert "No finished trial has the network, data and freezing mode" in text
    assert "<tbody></tbody>" not in re.sub(r"\s", "", text)
    assert "parameter counts" not in text
    assert "12 of the paper's 12 statements not run" in html.unescape(text)


def test_random_k_is_drawn_against_k(store, tmp_path):
    specs = [TrialSpec(epochs=1, trainable="random_k", k=k) for k in (1, 2)]
    specs.append(TrialSpec(epochs=1, trainable="bn_only"))
    launch(store, specs)
    for spec in specs:
        finish(store, spec, 40.0)
    out = build(store, tmp_path / "out").parent
    names = {path.stem for path in out.glob("*.png")}
    assert names == {"random_k", "accuracy_by_trainable", "training_curves"}


def test_results_of_two_versions_of_the_code_lie_in_separate_panels_and_are_flagged(
    store, tmp_path
):
    specs = grid()
    launch(store, specs)
    for spec in specs:
        finish(store, spec, 40.0, code="ab"[spec.seed] * 64)
    out = build(store, tmp_path / "out").parent
    assert (
        "results of 2 versions of the code: not averaged together"
        in (out / "index.html").read_text()
    )
    accuracy = [r for r in rows(out, "configurations") if r["metric"] == "test/accuracy"]
    assert {r["n"] for r in accuracy} == {"1"}


def test_a_damaged_probe_file_costs_its_figures_not_the_report(store, tmp_path, caplog):
    (spec, *_) = grid()
    launch(store, [spec])
    finish(store, spec, 40.0, probed(0))
    path = store.attempt_folder(spec.trial_id, 1) / results.ARTIFACTS / results.PROBES
    path.write_bytes(path.read_bytes()[:200])
    out = build(store, tmp_path / "out").parent
    assert "cannot be read" in caplog.text
    assert {p.stem for p in out.glob("*.png")} == {"accuracy_by_trainable", "training_curves"}


def test_panels_share_one_scale_that_holds_every_seed_of_every_panel():
    groups = gather(
        [
            made(TrialSpec(epochs=2, depth=d, seed=s), accuracy)
            for d, s, accuracy in ((14, 0, 30.0), (14, 1, 31.0), (32, 0, 80.0), (32, 1, 95.0))
        ]
    )
    axes = over_training(groups).figure.axes
    assert len({panel.get_ylim() for panel in axes}) == 1
    low, high = axes[0].get_ylim()
    assert low <= 10
    assert high >= 95
    assert [panel.get_ylabel() for panel in axes] == ["test accuracy (%)", ""]
    assert [panel.get_title() for panel in axes] == [
        "ResNet-14, n\u00a0=\u00a02",
        "ResNet-32, n\u00a0=\u00a02",
    ]


def test_the_curves_show_where_the_papers_ended():
    groups = gather([made(TrialSpec(epochs=2, depth=14, trainable="bn_only"), 40.0)])
    rows = [row for row in published() if row.kind == "accuracy"]
    (panel,) = over_training(groups, rows).figure.axes
    levels = [line for line in panel.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in levels] == [
        ([0, 2], [48.0, 48.0])
    ]
    assert "paper (hollow)" in [text.get_text() for text in panel.figure.legends[0].get_texts()]
    (legend,) = over_training(groups).figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["bn_only"]


def test_many_names_stand_upright_below_their_bars_without_what_they_share():
    figure, (panel,) = drawing.panels(1)
    names = [f"ResNet-8, batch_size {size}, lr {lr}" for size in (64, 128) for lr in (0.1, 0.2)]
    inches = drawing.names_below(panel, names)
    shown = [text.get_text() for text in panel.get_xticklabels()]
    assert shown[0] == "batch_size 64, lr 0.1"
    assert {text.get_rotation() for text in panel.get_xticklabels()} == {90.0}
    height = figure.get_size_inches()[1]
    drawing.make_higher(figure, inches)
    assert figure.get_size_inches()[1] > height + 1


@pytest.mark.parametrize(
    ("low", "high", "scale"), [(78_000, 90_000, "linear"), (78_000, 900_000, "log")]
)
def test_an_axis_of_counts_has_at_least_two_ticks_whatever_it_spans(low, high, scale):
    figure, (panel,) = drawing.panels(1)
    panel.plot([low, high], [1, 2])
    drawing.logarithmic(panel)
    figure.canvas.draw()
    left, right = panel.get_xlim()
    ticks = [tick for tick in panel.get_xticks() if left <= tick <= right]
    assert (panel.get_xscale(), len(ticks) >= 2) == (scale, True)


def test_an_undecided_verdict_shows_the_interval_the_seeds_needed_and_the_other_sources():
    spec = TrialSpec(depth=110, trainable="bn_only")
    groups = gather([made(spec.changed(seed=s), a) for s, a in enumerate((69.0, 70.2, 69.8))])
    judged = [v for v in verdicts.judge(published(), groups) if v.outcome == "not decided"]
    ((_, _, paper, ours, difference, verdict, _),) = report.verdict_table(judged).rows
    assert paper.startswith("69.5 ± 0.05 (text (as quoted elsewhere)); also 69.7 ± 0.05 (preprint")
    assert ours == "69.7 ± 1.5 (n 3)"
    assert difference == "+0.2 ± 1.3"
    assert verdict == f"not decided: {judged[0].seeds_to_decide} seeds would decide"
    (row,) = csv.DictReader(io.StringIO(csv_tables.verdicts(judged)))
    assert row["seeds_to_decide"] == str(judged[0].seeds_to_decide)
    assert row["other_sources"].startswith("69.7 ± 0.05 (preprint v1 text); ")
