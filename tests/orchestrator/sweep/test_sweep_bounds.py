"""Files that are made to take for ever, or all memory: each is refused in a line, at its line."""

import json
import os
import subprocess
import sys

import pytest

from orchestrator.errors import SweepError
from orchestrator.planning import plan
from orchestrator.store.store import Store
from orchestrator.sweep import sweep_spec
from orchestrator.sweep.yaml_text import MAX_BYTES, MAX_NODES

TOO_MANY = "found more than 20,000 keys and values, with aliases written out"
LOAD = """
import json, resource, sys
from orchestrator.errors import SweepError
from orchestrator.sweep import sweep_spec

resource.setrlimit(resource.RLIMIT_DATA, (200 * 2**20, 200 * 2**20))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for path in sys.argv[1:]:
    try:
        sweep_spec.load(path)
    except SweepError as error:
        print(json.dumps(error.lines))
"""


def tenfold(levels):
    """Lines of lists that hold the one above ten times."""
    lines = [f"x0: &x0 [{', '.join('1' * 10)}]"]
    for level in range(1, levels):
        lines.append(f"x{level}: &x{level} [{', '.join([f'*x{level - 1}'] * 10)}]")
    return lines


def listed(item, count):
    return "[" + ", ".join([item] * count) + "]"


MADE = {
    "aliases": ["name: a", *tenfold(11), "axes: {lr: *x10}"],
    "merges": ["name: a", f"base: {{<<: {listed('*b', 3000)}}}"],
    "points": ["name: a", "base: &b {lr: 1, depth: 14}", f"include: {listed('*b', 9000)}"],
    "values": ["name: a", f"axes: {{lr: {listed('1', MAX_NODES)}}}"],
    "nesting": ["name: a", "base: " + "[" * 50_000],
    "keys": ["name: a", *(f"dept{number}: 1" for number in range(9000))],
}
MADE["merges"].insert(1, f"b: &b {{{', '.join(f'k{n}: 1' for n in range(3000))}}}")


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """The lines that each of the files gets, all in one process with 200 MB."""
    folder = tmp_path_factory.mktemp("made")
    for name, lines in MADE.items():
        (folder / name).write_text("\n".join(lines))
    command = [sys.executable, "-c", LOAD, *MADE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(MADE, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("aliases", f"aliases:6: {TOO_MANY}; allowed: at most 20,000"),
        ("merges", f"merges:3: {TOO_MANY}; allowed: at most 20,000"),
        ("points", f"points:3: {TOO_MANY}; allowed: at most 20,000"),
        ("values", f"values:2: {TOO_MANY}; allowed: at most 20,000"),
        ("nesting", "nesting: nested too deeply"),
        ("keys", "… and 8960 more problems of these kinds"),
    ],
)
def test_a_file_that_is_too_much_to_read_is_refused_within_200_mb(refused, name, line):
    assert line in refused[name]


def test_an_alias_is_no_problem_where_it_stands_for_little():
    text = (
        f"name: a\naxes: {{lr: &lr {listed('0.1', 1)}}}\nexclude: [{{lr: *lr, seed: 1}}]\nseeds: 2"
    )
    assert len(sweep_spec.parse(text, "f.yaml").trials) == 1


def test_neither_a_device_nor_a_pipe_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", str(tmp_path / "pipe")):
        with pytest.raises(SweepError) as caught:
            sweep_spec.load(path)
        assert caught.value.lines == (f"{path}: found a device or a pipe; allowed: a regular file",)


def test_a_file_is_read_up_to_its_limit_only(tmp_path):
    path = tmp_path / "s.yaml"
    with path.open("w") as file:
        file.write("name: a\n#")
        file.truncate(10**12)
    with pytest.raises(SweepError) as caught:
        sweep_spec.load(path)
    assert caught.value.lines == (f"{path}: found more than 500,000 bytes; allowed: at most that",)
    path.write_text("name: a\n" + "#" * (MAX_BYTES - 8))
    assert sweep_spec.load(path).name == "a"


def test_a_list_that_is_one_value_is_refused_whole_where_it_is_too_long():
    text = "name: a\nbase:\n  epochs: 5000\n  milestones: %s\n"
    with pytest.raises(SweepError) as caught:
        sweep_spec.parse(text % list(range(1, 1002)), "f.yaml")
    assert caught.value.lines == (
        "f.yaml:4: base.milestones: found 1,001 values in one list; allowed: at most 1,000",
    )
    (trial,) = sweep_spec.parse(text % list(range(1, 1001)), "f.yaml").trials
    assert len(trial.milestones) == 1000


def test_exclusions_that_take_too_long_to_compare_are_refused():
    exclusions = ", ".join(f"{{depth: 8, seed: {number}}}" for number in range(1001))
    text = f"name: a\naxes: {{depth: [8, 14]}}\nseeds: 5000\nexclude: [{exclusions}]"
    with pytest.raises(SweepError) as caught:
        sweep_spec.parse(text, "f.yaml")
    assert caught.value.lines == (
        "f.yaml:4: exclude: found 1,001 exclusions for 10,000 trials; "
        "allowed: at most 1,000 for that many",
    )


WORK = ("depth", "width", "batch_size", "bn_batch", "epochs", "restart_epochs", "warmup_epochs")
WORK += ("image_size", "shorter_side", "classes", "train_subset", "validation", "crop_padding", "k")


@pytest.mark.parametrize("field", WORK)
@pytest.mark.parametrize("value", [10**9, 10**12, 10**25])
def test_what_nobody_would_run_is_refused(field, value):
    with pytest.raises(SweepError) as caught:
        sweep_spec.parse(f"name: a\nbase: {{{field}: {value}}}", "f.yaml")
    assert f"base.{field}: found {value} (would anybody run it?); " in caught.value.lines[0]
    assert "allowed: a whole number from " in caught.value.lines[0]


def test_a_list_of_epochs_is_bounded_as_they_are():
    text = "name: a\nbase: {milestones: [10, 1000000000000]}"
    with pytest.raises(SweepError) as caught:
        sweep_spec.parse(text, "f.yaml")
    assert "base.milestones: found " in caught.value.lines[0]


def calls_to_plan(depths: list[int], store: Store) -> int:
    """Python functions called to plan these networks: work that no load of the machine changes."""
    text = f"name: a\naxes: {{trainable: [all, bn_only], depth: {depths}}}"
    spec, calls = sweep_spec.parse(text, "f.yaml"), []
    before = sys.getprofile()
    sys.setprofile(lambda _, event, __: calls.append(1) if event == "call" else None)
    try:
        made = plan.make(spec, store)
    finally:
        sys.setprofile(before)
    assert len(made.rows) == 2 * len(depths)
    return len(calls)


def test_deep_networks_are_planned_without_counting_each_layer(tmp_path):
    store = Store(tmp_path)
    calls_to_plan([26], store)  # fills what is computed once
    # Depths that no other test plans: what is known of a network already costs no calls.
    shallow, deep = calls_to_plan([992, 998], store), calls_to_plan([9_992, 9_998], store)
    assert deep < 1.1 * shallow  # counted layer by layer it would be ten times as many


def test_very_many_very_deep_networks_are_planned(tmp_path):
    store, depths = Store(tmp_path), list(range(8, 10_001, 6))
    few, many = calls_to_plan(depths[:200], store), calls_to_plan(depths, store)
    assert many < 1.5 * few * len(depths) / 200  # no network is compared with every other


def test_very_many_trials_with_long_lists_are_refused():
    lists = [list(range(first, first + 900)) for first in range(1, 11)]
    text = f"name: a\nbase: {{epochs: 5000}}\naxes: {{milestones: {lists}}}\nseeds: 200"
    with pytest.raises(SweepError) as caught:
        sweep_spec.parse(text, "f.yaml")
    assert caught.value.lines == (
        "f.yaml:1: axes: found 2,000 trials with lists of up to 900 values; "
        "allowed: at most 1,111 with such",
    )
