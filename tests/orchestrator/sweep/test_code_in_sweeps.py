"""`code: PATH` in a sweep file: part of each trial by its content, its names checked."""

import hashlib
import re

import pytest
from made_code import BASE, MINE, written

from orchestrator.errors import SweepError
from orchestrator.sweep import descriptions, sweep_spec
from orchestrator.sweep.descriptions import Description
from trainer import own_code


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory):
    """One for this file: most tests have the same code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def loaded(folder, text=BASE, code=MINE):
    return sweep_spec.load(written(folder, text, code))


def lines_of(folder, text=BASE, code=MINE):
    with pytest.raises(SweepError) as caught:
        loaded(folder, text, code)
    return [line.replace(f"{folder}/", "") for line in caught.value.lines]


def test_code_enters_each_trial_by_its_content(tmp_path):
    sweep = loaded(tmp_path, BASE + "axes: {trainable: [all, stem_only]}\nseeds: 2\n")
    sha256 = hashlib.sha256(MINE.encode()).hexdigest()
    assert {trial.code_sha256 for trial in sweep.trials} == {sha256}
    assert sweep.code is not None
    assert (sweep.code.sha256, sweep.code.path) == (sha256, tmp_path / "mine.py")
    assert [trial.trainable for trial in sweep.trials] == ["all", "all", "stem_only", "stem_only"]


def test_a_comment_more_is_another_trial(tmp_path):
    (first,), (second,) = (loaded(tmp_path, code=c).trials for c in (MINE, MINE + "# more\n"))
    assert first.trial_id != second.trial_id


def test_a_package_enters_by_the_names_and_contents_of_its_files(tmp_path):
    path = written(tmp_path)
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("from .networks import *\n")
    (package / "networks.py").write_text(MINE)
    path.write_text(path.read_text().replace("mine.py", "mine"))
    (trial,) = sweep_spec.load(path).trials
    assert trial.code_sha256 == own_code.digest(package)
    (package / "notes.txt").write_text("no code")
    with pytest.raises(SweepError, match=r"mine.yaml:2: code: notes.txt: a package of code"):
        sweep_spec.load(path)


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("model", "tinny", "base.model: found tinny; allowed: .*resnet, tiny; did you mean tiny"),
        ("dataset", "square", "base.dataset: .*synthetic, squares; did you mean squares"),
        ("trainable", "stem", "base.trainable: .*nothing, stem_only"),
        ("augmentation", "dark", "base.augmentation: found dark; allowed: .*darker"),
        ("depth", "3", "base.depth: found 3; allowed for tiny: 1, 2"),
    ],
)
def test_a_name_or_number_that_the_code_does_not_have_is_a_line(field, value, line, tmp_path):
    base = {"model": "tiny", "depth": "1", "dataset": "digits", field: value}
    text = "base: {" + ", ".join(f"{k}: {v}" for k, v in base.items()) + "}\n"
    (shown,) = lines_of(tmp_path, text)
    assert shown.startswith("mine.yaml:3: ")
    assert re.search(line, shown), shown


def test_images_that_a_described_network_does_not_take_are_a_line(tmp_path):
    text = "base: {model: tiny, depth: 1, dataset: synthetic, image_size: 4}\n"
    (shown,) = lines_of(tmp_path, text)
    assert "base.image_size: found images of 4x4 pixels; allowed for tiny: 8x8 to 64x64" in shown
    text = "base: {model: cifar_vgg, depth: 16, dataset: squares}\n"
    (shown,) = lines_of(tmp_path, text)
    assert "base.dataset: found images of 8x8 pixels; allowed for cifar_vgg: 32x32" in shown


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("yours.py", "code: yours.py"),
        ("mine.txt", "code: mine.txt is neither a .py file nor a package folder"),
        ("[mine.py]", "code: found a list; allowed: the path of a .py file or"),
    ],
)
def test_a_path_that_is_no_code_is_a_line(path, line, tmp_path):
    written(tmp_path)
    (tmp_path / "mine.txt").write_text("no code")
    (tmp_path / "a.yaml").write_text(f"name: a\ncode: {path}\n{BASE}")
    with pytest.raises(SweepError) as caught:
        sweep_spec.load(tmp_path / "a.yaml")
    (shown,) = caught.value.lines
    assert f"a.yaml:2: {line}" in shown


def test_too_much_code_is_a_line(tmp_path):
    (shown,) = lines_of(tmp_path, code="#" * (2**20 + 1))
    assert shown == "mine.yaml:2: code: mine.py has 1,048,577 bytes; at most 1,048,576"


def test_a_link_that_leads_out_of_the_package_is_a_line(tmp_path):
    path = written(tmp_path)
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "networks.py").symlink_to(tmp_path / "mine.py")
    path.write_text(path.read_text().replace("mine.py", "mine"))
    with pytest.raises(SweepError, match=r":2: code: networks.py is a link that leads out"):
        sweep_spec.load(path)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("def f(:\n", "mine.py:1: SyntaxError: invalid syntax"),
        ("\nimport no_such_library\n", "mine.py:2: ModuleNotFoundError: No module named 'no_such"),
        ("import os\nos._exit(3)\n", "mine.py: no output"),
    ],
)
def test_code_that_cannot_be_loaded_is_a_line_with_its_own_line(code, line, tmp_path):
    (shown,) = lines_of(tmp_path, code=code)
    assert shown.startswith(f"mine.yaml:2: code: {line}")


def test_the_traceback_of_the_users_code_is_the_cause_of_the_error(tmp_path):
    path = written(tmp_path, code="def broken():\n    raise ValueError('mine')\nbroken()\n")
    with pytest.raises(SweepError, match=r"mine.py:2: ValueError: mine") as caught:
        sweep_spec.load(path)
    assert "line 3, in <module>" in str(caught.value.__cause__)


def test_code_that_does_not_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(descriptions, "TIMEOUT_S", 1.0)
    (shown,) = lines_of(tmp_path, code="while True:\n    pass\n")
    assert shown == "mine.yaml:2: code: mine.py: did not answer within 1 s"


def test_the_same_code_is_asked_once(tmp_path, monkeypatch):
    loaded(tmp_path)

    def never(*_, **__) -> Description:
        raise AssertionError("asked again")

    monkeypatch.setattr(descriptions, "_asked", never)
    loaded(tmp_path)
    with pytest.raises(AssertionError, match="asked again"):
        loaded(tmp_path, code=MINE + "# other\n")


def test_options_are_part_of_a_trial_and_may_be_an_axis(tmp_path):
    axes = "axes: {options: [{filters: 4}, {filters: 8, name: a, fast: true}]}\n"
    sweep = loaded(tmp_path, BASE + axes)
    assert [dict(trial.options) for trial in sweep.trials] == [
        {"filters": 4},
        {"filters": 8, "name": "a", "fast": True},
    ]
    assert len({trial.config_id for trial in sweep.trials}) == 2
    (shown,) = lines_of(tmp_path, BASE + "axes: {options: [{a: 1, b: 2}, {b: 2, a: 1}]}\n")
    assert "axes.options: found" in shown
    assert "twice" in shown


@pytest.mark.parametrize("value", ["4", "[1]", "{heads: [1]}", "{Heads: 1}", "{heads: }"])
def test_options_that_are_no_mapping_of_names_to_scalars_are_a_line(value, tmp_path):
    (shown,) = lines_of(tmp_path, f"base: {{model: tiny, depth: 1, options: {value}}}\n")
    assert shown.startswith("mine.yaml:3: base.options: found ")


def test_the_digest_of_code_is_not_written_by_hand(tmp_path):
    (shown,) = lines_of(tmp_path, f"base: {{code_sha256: {'a' * 64}}}\n")
    assert shown == "mine.yaml:3: base.code_sha256: not here; allowed: code: PATH, at the top"
