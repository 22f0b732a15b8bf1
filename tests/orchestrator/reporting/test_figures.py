"""Each figure of accuracy over each axis: what a line joins, and in which panel it is."""

from itertools import pairwise, product

import pytest
from made_results import made

from orchestrator.planning import costs
from orchestrator.reporting.figures.accuracy import accuracy_figures
from orchestrator.reporting.published import published
from orchestrator.reporting.replicates import gather
from trainer.spec import TrialSpec

MODES = {"trainable": ["all", "bn_only"]}


def grid(**axes):
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    return [TrialSpec(epochs=2, **point) for point in points]


def figures(specs, reference=()):
    """The figures of a sweep with two finished seeds of each spec, by name."""
    results = [
        made(seeded, 30.0 + seeded.seed).model_copy(update={"counts": costs.counts(seeded)})
        for spec in specs
        for seeded in (spec, spec.changed(seed=1))
    ]
    return {figure.name: figure for figure in accuracy_figures(gather(results), reference)}


def lines(figure, mode):
    """In each panel the places on the x axis that the lines of a mode join."""
    return [
        [list(c.lines[0].get_xdata()) for c in panel.containers if c.get_label() == mode]
        for panel in figure.figure.axes
        if panel.get_title()
    ]


ONE_AXIS = [
    ("accuracy_depth", {"depth": [14, 32, 56]}, [14, 32, 56]),
    ("accuracy_width", {"width": [4, 1, 2]}, [1, 2, 4]),
    ("accuracy_lr", {"lr": [0.1, 0.01, 1.0]}, [0.01, 0.1, 1.0]),
    ("accuracy_train_subset", {"train_subset": [0, 100, 1000]}, [100, 1000, 50_000]),
    ("accuracy_bn_parameters", {"width": [1, 2, 4]}, [1120, 2240, 4480]),
    ("accuracy_bn_parameters", {"depth": [14, 32]}, [1120, 2464]),
]


@pytest.mark.parametrize(("name", "axis", "places"), ONE_AXIS)
def test_along_one_axis_one_line_joins_all_values_of_a_mode(name, axis, places):
    figure = figures(grid(**axis, **MODES))[name]
    for mode in MODES["trainable"]:
        assert lines(figure, mode) == [[places]]


TWO_AXES = [
    ("accuracy_depth", {"depth": [14, 32], "width": [1, 2, 4]}, 3, [14, 32]),
    ("accuracy_width", {"depth": [14, 32], "width": [1, 2, 4]}, 2, [1, 2, 4]),
    ("accuracy_depth", {"depth": [14, 32], "lr": [0.1, 0.2]}, 2, [14, 32]),
    ("accuracy_lr", {"width": [1, 2], "lr": [0.1, 0.2]}, 2, [0.1, 0.2]),
    ("accuracy_width", {"width": [1, 2], "dataset": ["cifar10", "cifar100"]}, 2, [1, 2]),
]


@pytest.mark.parametrize(("name", "axes", "panels", "places"), TWO_AXES)
def test_of_two_axes_one_is_joined_by_lines_and_the_other_has_a_panel_a_value(
    name, axes, panels, places
):
    assert lines(figures(grid(**axes, **MODES))[name], "bn_only") == [[places]] * panels


def test_against_k_a_line_joins_the_ks_of_each_network():
    specs = grid(width=[1, 2], trainable=["random_k"], k=[1, 2, 4])
    assert lines(figures(specs)["random_k"], "random_k") == [[[1, 2, 4]]] * 2


def test_data_sets_are_bars():
    figure = figures(grid(dataset=["cifar10", "cifar100"], **MODES))["accuracy_by_dataset"]
    (panel,) = figure.figure.axes
    assert [text.get_text() for text in panel.get_xticklabels()] == ["cifar10", "cifar100"]


def test_against_parameters_each_width_is_a_line_with_its_name():
    figure = figures(grid(depth=[14, 32], width=[1, 2]))["accuracy_bn_parameters"]
    assert lines(figure, "all") == [[[1120, 2464], [2240, 4928]]]
    (panel,) = figure.figure.axes
    assert [text.get_text() for text in panel.texts] == ["width 1", "width 2"]


def test_widths_of_one_depth_are_joined_beside_the_depths_of_one_width():
    specs = grid(depth=[14, 32, 56]) + grid(width=[2, 4])
    figure = figures(specs)["accuracy_bn_parameters"]
    assert lines(figure, "all") == [[[1120, 2464, 4256], [1120, 2240, 4480]]]
    assert [text.get_text() for text in figure.figure.axes[0].texts] == ["width 1", "depth 14"]


@pytest.mark.parametrize(
    ("axis", "places"), [({"depth": [14, 32, 56]}, 3), ({"width": [1, 2, 4]}, 3)]
)
def test_the_papers_values_are_joined_by_a_dotted_line(axis, places):
    (name,) = axis
    (panel,) = figures(grid(**axis, trainable=["bn_only"]), published())[
        f"accuracy_{name}"
    ].figure.axes
    hollow = [line for line in panel.lines if line.get_markerfacecolor() == "none"]
    assert [(len(line.get_xdata()), line.get_linestyle()) for line in hollow] == [(places, ":")]


def test_a_figure_says_how_many_panels_it_leaves_out():
    drawn = figures(grid(lr=[0.1, 0.2], width=range(1, 9)))
    assert drawn["accuracy_lr"].caption.endswith("The first 6 of 8 panels.")
    assert drawn["training_curves"].caption.endswith("The first 6 of 16 panels.")
    assert "panels" not in drawn["accuracy_width"].caption


def test_many_places_on_an_axis_have_round_ticks_that_do_not_overlap():
    rates = [round(0.001 * 1.5**n, 6) for n in range(16)]
    few, many = (figures(grid(lr=part, **MODES))["accuracy_lr"] for part in (rates[:5], rates))
    for figure, measured in ((few, True), (many, False)):
        (panel,) = figure.figure.axes
        figure.figure.canvas.draw()
        low, high = panel.get_xlim()
        shown = [
            text
            for place, text in zip(panel.get_xticks(), panel.get_xticklabels(), strict=True)
            if low <= place <= high
        ]
        assert ("0.00225" in [text.get_text() for text in shown]) == measured
        boxes = [text.get_window_extent() for text in shown]
        assert all(one.x1 < other.x0 for one, other in pairwise(boxes))


def depth_figure(*accuracies):
    """Accuracy against depth, of two depths with seeds of these accuracies."""
    results = [
        made(TrialSpec(epochs=2, depth=depth, seed=seed), accuracy)
        for depth in (14, 20)
        for seed, accuracy in enumerate(accuracies)
    ]
    (figure,) = (f for f in accuracy_figures(gather(results), ()) if f.name == "accuracy_depth")
    return figure


def test_an_interval_of_two_seeds_does_not_stretch_the_axis_and_one_of_three_is_drawn():
    low, high = depth_figure(60.0, 64.0).figure.axes[0].get_ylim()
    assert 55 < low < 60
    assert 64 < high < 69
    low, high = depth_figure(60.0, 62.0, 64.0).figure.axes[0].get_ylim()
    assert low < 62 - 4.96
    assert high > 62 + 4.96


def test_the_marker_of_100_percent_has_room():
    _, high = depth_figure(100.0, 99.0).figure.axes[0].get_ylim()
    assert high > 100
    _, high = depth_figure(100.0, 90.0, 95.0).figure.axes[0].get_ylim()
    assert 100 < high <= 103
