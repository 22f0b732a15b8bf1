"""What is said of sweep files that mean nothing: where, what was found, what is allowed."""

import json
from pathlib import Path

import pytest

from orchestrator.errors import SweepError
from orchestrator.sweep import sweep_spec
from orchestrator.sweep.fields import SCHEMAS
from orchestrator.sweep.other_names import OTHER_NAMES
from orchestrator.sweep.sweep_file import KEYS, RESOURCES, VALUES

GOLDEN = Path(__file__).parents[2] / "golden" / "sweep_errors.json"


def lines_of(text, *overrides):
    with pytest.raises(SweepError) as caught:
        sweep_spec.parse(text, "f.yaml", overrides)
    return list(caught.value.lines)


@pytest.mark.parametrize("entry", json.loads(GOLDEN.read_text()), ids=lambda entry: entry["what"])
def test_each_mistake_has_its_message(entry):
    assert lines_of(entry["text"], *entry.get("set", [])) == entry["lines"]


def test_all_problems_of_a_file_come_at_once_with_their_lines():
    text = "nam: x\nbase:\n  depht: 14\n  lr: '0.1'\naxes:\n  trainable: [bn_onyl]\n"
    shown = lines_of(text)
    assert [line.split(": ")[:2] for line in shown] == [
        ["f.yaml:1", "nam"],
        ["f.yaml:1", "name"],
        ["f.yaml:3", "base.depht"],
        ["f.yaml:4", "base.lr"],
        ["f.yaml:6", "axes.trainable"],
    ]


def test_very_many_problems_are_cut_and_counted():
    text = "name: a\nbase:\n" + "".join(f"  x{n}: 1\n" for n in range(100))
    shown = lines_of(text)
    assert len(shown) == 41
    assert shown[-1] == "… and 60 more problems of these kinds"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"\xff\xfe\x00", "not text in UTF-8"), (b"", "found nothing")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, words):
    path = tmp_path / "s.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SweepError, match=words) as caught:
        sweep_spec.load(path)
    assert caught.value.lines[0].startswith(str(path))


def test_a_folder_is_no_sweep_file(tmp_path):
    with pytest.raises(SweepError, match="cannot be read"):
        sweep_spec.load(tmp_path)


def test_an_alias_bomb_is_refused_at_once():
    bomb = "name: a\nx0: &x0 [1, 1]\n"
    bomb += "".join(f"x{n}: &x{n} [*x{n - 1}, *x{n - 1}]\n" for n in range(1, 40))
    assert "x0: unknown key" in lines_of(bomb)[0]


def test_problems_of_one_line_stand_in_the_order_of_the_line():
    text = "name: a\nbase: {width: 0, depth: x, foo: 1, lr: -1}\nseeds: 0\n"
    keys = [line.split(": ")[1] for line in lines_of(text)]
    assert keys == ["base.width", "base.depth", "base.foo", "base.lr", "seeds"]


def test_the_same_problem_twice_on_a_line_is_said_once():
    assert len(lines_of("name: a\naxes: {lr: [x, x, x]}\n")) == 1


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("value", ["3", "x", "[1]", "[[[1]]]", "{a: 1}", "{a: {b: 1}}", "~"])
def test_each_field_takes_a_value_or_says_what_it_allows(name, value):
    for section in (f"base: {{{name}: {value}}}", f"axes: {{{name}: [{value}]}}"):
        lines = []
        try:
            sweep_spec.parse(f"name: a\n{section}", "f.yaml")
        except SweepError as error:
            lines = error.lines
        assert all(line.startswith("f.yaml:2: ") for line in lines)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("axes: {trainable: [bn_only, random_k, all]}", "[bn_only, all, random_k], k: [0, 0, 2]"),
        ("base: {k: 4}\naxes: {trainable: [all, random_k]}", "[all, random_k], k: [0, 4]"),
        (
            "axes: {k: [2, 4], trainable: [all, random_k]}",
            "[all, random_k, random_k], k: [0, 2, 4]",
        ),
    ],
)
def test_random_k_beside_other_modes_says_which_pair_to_write(text, pair):
    lines = lines_of(f"name: a\n{text}\n")
    assert all(line.endswith(f"write under paired: - {{trainable: {pair}}}") for line in lines)
    meant = sweep_spec.parse(f"name: a\npaired:\n  - {{trainable: {pair}}}\n", "f.yaml")
    assert {spec.trainable for spec in meant.trials} >= {"all", "random_k"}


def test_a_k_that_is_too_large_beside_other_modes_is_still_said_to_be():
    lines = lines_of("name: a\nbase: {k: 99}\naxes: {trainable: [all, random_k]}\n")
    assert any("found 99; allowed: up to" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("base: {learning_rate: 0.1}", "base.learning_rate: unknown field; did you mean lr?"),
        ("base: {max-epochs: 2}", "base.max-epochs: unknown field; did you mean epochs?"),
        ("axes: {freeze: [all]}", "axes.freeze: unknown field; did you mean trainable?"),
        ("bs: 64", "bs: unknown key; batch_size is a field of a trial: put it under base or axes"),
        ("weights_file: a.pt", "weights_file is a field of a trial: put it under base or axes"),
        ("repeats: 3", "repeats: unknown key; did you mean seeds?"),
        ("resources: {num_workers: 3}", "resources.num_workers: unknown key; did you mean deco"),
        ("base: {weights_fil: a.pt}", "unknown field; did you mean weights_file?"),
        ("exclude: [{arch: a}]", "exclude[0].arch: unknown field; did you mean model?"),
    ],
)
def test_names_of_other_tools_lead_to_ours(text, hint):
    assert hint in lines_of(f"name: a\n{text}\n")[0]


def test_set_knows_the_names_of_other_tools():
    (line,) = lines_of("name: a\n", "wd=0.1")
    assert line.startswith("--set wd=0.1: wd: cannot be set; did you mean weight_decay?")


def test_each_other_name_stands_for_something_of_ours_and_is_none_itself():
    ours = {*KEYS, *VALUES, *RESOURCES}
    assert set(OTHER_NAMES.values()) <= ours
    assert not set(OTHER_NAMES) & ours
