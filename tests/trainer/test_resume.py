from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from small_trials import numbers, small

from trainer import checkpoint, freezing, journal
from trainer.errors import DataError, Stopped
from trainer.modes import MODES
from trainer.results import CHECKPOINT, JOURNAL, Result
from trainer.spec import TrialSpec
from trainer.train import Options, train
from trainer.weights import initial


def stopping_at(options: Options, step: int) -> Options:
    """Options that ask for a stop before the given update, counted from 0."""
    counter = itertools.count()
    return replace(options, poll=lambda: next(counter) == step)


def interrupted(spec: TrialSpec, folder: Path, options: Options, step: int) -> Result:
    """Stop before `step`, then go on in a second attempt."""
    with pytest.raises(Stopped):
        train(spec, folder / "1", options=stopping_at(options, step))
    resume = checkpoint.find([folder / "1"], spec)
    assert resume is not None
    assert resume.header.step == step
    return train(spec, folder / "2", attempt=2, resume=resume, options=options)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("trainable", MODES)
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit_in_every_mode(
    trainable, precision, tmp_path, options
) -> None:
    k = 2 if trainable == "random_k" else 0
    spec = small(trainable=trainable, k=k, precision=precision)
    whole = train(spec, tmp_path / "whole", options=options)
    resumed = interrupted(spec, tmp_path, options, 6)
    assert numbers(resumed) == numbers(whole)
    assert resumed.exact


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "adam", "lr": 0.001},
        {"optimizer": "adamw", "lr": 0.001, "schedule": "cosine", "warmup_epochs": 1},
        {"nesterov": True, "brightness": 0.3},
        {"momentum": 0.0, "schedule": "exponential"},
    ],
)
def test_it_can_stop_before_any_step_under_any_optimizer_and_schedule(
    fields, tmp_path, options
) -> None:
    spec = small(**fields)
    whole = train(spec, tmp_path / "whole", options=options)
    for step in (0, 1, 4, 7):
        resumed = interrupted(spec, tmp_path / str(step), options, step)
        assert numbers(resumed) == numbers(whole), f"stopped before step {step}"


def test_a_trial_stopped_at_every_step_still_equals_the_uninterrupted_one(
    tmp_path, options
) -> None:
    spec = small(trainable="bn_only")
    whole = train(spec, tmp_path / "whole", options=options)
    folders: list[Path] = []
    for attempt in range(1, 8):
        resume = checkpoint.find(folders[::-1], spec)
        folders.append(tmp_path / str(attempt))
        with pytest.raises(Stopped):
            train(
                spec,
                folders[-1],
                attempt=attempt,
                resume=resume,
                options=stopping_at(options, 1),
            )
    resume = checkpoint.find(folders[::-1], spec)
    last = train(spec, tmp_path / "8", attempt=8, resume=resume, options=options)
    assert numbers(last) == numbers(whole)
    written = [record for folder in [*folders, tmp_path / "8"] for record in lines(folder)]
    assert {record.model_dump_json() for record in written} == {
        record.model_dump_json() for record in last.history
    }


def lines(folder: Path) -> list[journal.Record]:
    return journal.read(folder / JOURNAL)


def test_a_resume_writes_the_journal_lines_that_the_killed_attempt_lacks(tmp_path, options) -> None:
    spec, first = small(), tmp_path / "1"
    with pytest.raises(Stopped):
        train(spec, first, options=stopping_at(options, 4))
    lines = (first / JOURNAL).read_bytes().splitlines(keepends=True)
    (first / JOURNAL).write_bytes(lines[0] + lines[1][:40])  # killed while writing epoch 1's line
    resume = checkpoint.find([first], spec)
    train(spec, tmp_path / "2", attempt=2, resume=resume, options=options)
    records = journal.read(tmp_path / "2" / JOURNAL)
    assert [(record.epoch, record.attempt) for record in records] == [(1, 1), (2, 2)]
    assert records[0].time_ms == resume.history[1].time_ms


def test_resuming_in_the_same_folder_doubles_no_line(tmp_path, options) -> None:
    spec = small()
    with pytest.raises(Stopped):
        train(spec, tmp_path, options=stopping_at(options, 6))
    (tmp_path / CHECKPOINT).write_bytes(b"damaged")  # falls back to the end of epoch 1
    result = train(spec, tmp_path, resume=checkpoint.find([tmp_path], spec), options=options)
    assert journal.read(tmp_path / JOURNAL) == result.history
    assert [record.epoch for record in result.history] == [0, 1, 2]


def test_a_resume_under_another_thread_count_goes_on_and_says_it_is_not_exact(
    tmp_path, options
) -> None:
    spec = small()
    with pytest.raises(Stopped):
        train(spec, tmp_path / "1", options=stopping_at(options, 4))
    resume = checkpoint.find([tmp_path / "1"], spec)
    more = replace(options, threads=2)
    result = train(spec, tmp_path / "2", attempt=2, resume=resume, options=more)
    assert not result.exact
    assert result.numerics["threads"] == 2


def test_a_resume_on_other_data_is_refused(tmp_path, options) -> None:
    spec = small()
    with pytest.raises(Stopped):
        train(spec, tmp_path / "1", options=stopping_at(options, 4))
    resume = checkpoint.find([tmp_path / "1"], spec)
    digests = resume.header.digests | {"data": "0" * 64}
    other = resume.model_copy(
        update={"header": resume.header.model_copy(update={"digests": digests})}
    )
    with pytest.raises(DataError, match="not what this trial began with"):
        train(spec, tmp_path / "2", attempt=2, resume=other, options=options)


@pytest.mark.parametrize("trainable", ["all", "bn_only"])
def test_a_resume_builds_and_hashes_its_network_once(
    trainable, tmp_path, options, monkeypatch
) -> None:
    spec = small(trainable=trainable)
    with pytest.raises(Stopped):
        train(spec, tmp_path / "1", options=stopping_at(options, 4))
    calls = []
    for module, name in ((initial, "build"), (freezing, "freeze"), (freezing, "snapshot")):
        original = getattr(module, name)
        monkeypatch.setattr(
            module,
            name,
            lambda *given, name=name, original=original: calls.append(name) or original(*given),
        )
    resume = checkpoint.find([tmp_path / "1"], spec)
    with pytest.raises(Stopped):
        train(spec, tmp_path / "2", attempt=2, resume=resume, options=stopping_at(options, 0))
    assert calls == ["build", "freeze", "snapshot"]
