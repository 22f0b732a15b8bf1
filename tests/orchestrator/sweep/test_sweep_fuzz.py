"""No input whatever gives a traceback: a sweep, or a SweepError with lines for a person."""

import contextlib
import itertools

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import SweepError
from orchestrator.sweep import sweep_spec
from orchestrator.sweep.fields import SCHEMAS
from orchestrator.sweep.recipes import RECIPES
from orchestrator.sweep.sweep_file import KEYS
from orchestrator.sweep.yaml_text import read_scalar

WORDS = (
    "all",
    "bn_only",
    "014",
    "1:30",
    "1e-4",
    "3e6",
    "off",
    "~",
    "<<",
    "&a",
    "*a",
    "!!x",
    "{",
    "[",
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(WORDS),
    st.sampled_from([8, 14, 0.1, 2, 1]),
    st.dates(),
    st.binary(max_size=4),
)
field_names = st.one_of(st.sampled_from(list(SCHEMAS)), st.text(max_size=6))
nested = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(field_names, inner, max_size=3)
    ),
    max_leaves=6,
)
documents = st.dictionaries(
    st.one_of(st.sampled_from(KEYS), st.text(max_size=4)), nested, max_size=6
)
ranges = st.dictionaries(st.sampled_from(["log", "uniform", "lgo"]), nested, max_size=2)
samples = st.fixed_dictionaries(
    {"count": st.one_of(st.integers(1, 9), nested)},
    optional={
        "seed": st.one_of(st.integers(0, 9), nested),
        "of": st.one_of(st.dictionaries(field_names, st.one_of(ranges, nested)), nested),
        "other": nested,
    },
)
entries = st.dictionaries(
    st.one_of(st.just("axes"), field_names),
    st.one_of(
        st.dictionaries(field_names, st.one_of(st.lists(scalars, max_size=3), nested)), nested
    ),
    max_size=4,
)
overrides = st.lists(
    st.one_of(
        st.text(max_size=10),
        st.tuples(field_names, st.text(max_size=8)).map("=".join),
        st.tuples(st.sampled_from(KEYS), st.sampled_from(WORDS)).map("=".join),
    ),
    max_size=2,
)


def outcome(text, given_overrides=()):
    """The trials, or the lines of the SweepError; anything else is a failure of the test."""
    try:
        return sweep_spec.parse(text, "f.yaml", given_overrides).trials
    except SweepError as error:
        lines = error.lines
    assert lines
    assert all(line and "\n" not in line for line in lines)
    return lines


@given(st.text(max_size=200), overrides)
@settings(max_examples=80, deadline=None)
def test_any_text_is_a_sweep_or_a_sweep_error(text, given_overrides):
    assert outcome(text, given_overrides)


@given(
    st.lists(
        st.sampled_from([*WORDS, *KEYS, "\n", "  ", ": ", "- ", ", ", "}", "]", "'", '"', "#"])
    )
)
@settings(max_examples=80, deadline=None)
def test_any_mixture_of_yamls_own_pieces_is_a_sweep_or_a_sweep_error(pieces):
    assert outcome("".join(pieces))


@given(documents, overrides)
@settings(max_examples=100, deadline=None)
def test_any_document_is_a_sweep_or_a_sweep_error(document, given_overrides):
    assert outcome(yaml.safe_dump({"name": "a", **document}, allow_unicode=True), given_overrides)


@given(samples)
@settings(max_examples=100, deadline=None)
def test_any_sample_is_a_sweep_or_a_sweep_error(sample):
    assert outcome(yaml.safe_dump({"name": "a", "sample": sample}, allow_unicode=True))


@given(st.lists(entries, max_size=3))
@settings(max_examples=100, deadline=None)
def test_any_grid_in_include_is_a_sweep_or_a_sweep_error(include):
    assert outcome(yaml.safe_dump({"name": "a", "include": include}, allow_unicode=True))


@given(st.binary(max_size=60))
@settings(max_examples=50, deadline=None)
def test_any_bytes_in_a_file_are_a_sweep_or_a_sweep_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "s.yaml"
    path.write_bytes(content)
    with contextlib.suppress(SweepError):
        sweep_spec.load(path)


@given(st.integers(-(10**6), 10**6))
def test_whole_numbers_are_read_as_written(number):
    assert read_scalar(str(number)) == number
    assert type(read_scalar(str(number))) is int


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_as_python_writes_them(number):
    assert read_scalar(repr(number)) == number


axis_values = {
    "depth": st.lists(st.sampled_from([8, 14, 20, 26]), min_size=1, max_size=3, unique=True),
    "width": st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True),
    "lr": st.lists(st.floats(0, 1), min_size=1, max_size=3, unique=True),
    "trainable": st.lists(
        st.sampled_from(["all", "bn_only", "nothing"]), min_size=1, max_size=3, unique=True
    ),
}
axes_sections = st.lists(st.sampled_from(list(axis_values)), min_size=1, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: axis_values[name] for name in names})
)


def parsed(document):
    text = yaml.safe_dump({"name": "a", **document}, sort_keys=False)
    return sweep_spec.parse(text, "f.yaml").trials


@given(axes_sections, st.integers(1, 3), st.sampled_from([None, *RECIPES][:3]))
@settings(max_examples=60, deadline=None)
def test_the_trials_are_the_product_each_once(axes, seeds, recipe):
    trials = parsed({"axes": axes, "seeds": seeds, **({"recipe": recipe} if recipe else {})})
    wanted = list(itertools.product(*axes.values(), range(seeds)))
    assert [tuple(getattr(t, name) for name in (*axes, "seed")) for t in trials] == wanted
    assert len({trial.trial_id for trial in trials}) == len(wanted)


@given(axes_sections)
@settings(max_examples=40, deadline=None)
def test_the_order_of_axes_changes_the_order_of_trials_and_no_id(axes):
    backwards = dict(reversed(axes.items()))
    one, other = parsed({"axes": axes}), parsed({"axes": backwards})
    assert {trial.trial_id for trial in one} == {trial.trial_id for trial in other}


@given(axes_sections, st.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_a_grid_in_include_has_the_trials_that_it_has_as_axes(axes, seeds):
    beside = {"base": {"epochs": 9}, "seeds": seeds}  # a trial of its own, from the base
    found = parsed({**beside, "include": [{"epochs": 3, "axes": axes}]})
    alone = parsed({"base": {"epochs": 3}, "axes": axes, "seeds": seeds})
    assert found[seeds:] == alone


@given(axes_sections, st.data())
@settings(max_examples=40, deadline=None)
def test_exclude_and_the_rest_are_a_partition(axes, data):
    name = data.draw(st.sampled_from(list(axes)))
    dropped = data.draw(st.sampled_from(axes[name]))
    every = parsed({"axes": axes})
    document = {"axes": axes, "exclude": [{name: dropped}]}
    if len(axes[name]) == 1:
        assert "drops every trial" in outcome(yaml.safe_dump({"name": "a", **document}))[0]
    else:
        assert parsed(document) == tuple(t for t in every if getattr(t, name) != dropped)
