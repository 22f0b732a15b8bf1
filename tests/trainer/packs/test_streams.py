"""Members that take turns have the bits of trials alone.

On the CPU the turns are those of a GPU, without streams: test_gpu.py has these.
"""

from __future__ import annotations

import contextlib
import traceback
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_packs import alone, before_step, bits, pack
from small_trials import rerun, small

from trainer import checkpoint, journal
from trainer.errors import Diverged, OutOfMemory, Stopped
from trainer.learner import Learner
from trainer.packs.members import Member, Outcome, Pack
from trainer.packs.streams import Streams
from trainer.results import CHECKPOINT, JOURNAL, RESULT, Result
from trainer.train import Options, Trial, train

MIXED = [
    small(trainable="all", schedule="cosine"),
    small(trainable="bn_only", seed=1, lr=0.02),
    small(trainable="random_k", k=2, init="binary", nesterov=True),
    small(trainable="output_only", optimizer="adam", lr=0.01, flip=False),
    small(trainable="nothing", seed=2, crop_padding=2),
]
STEPS = 4  # an epoch; the last one is short


def in_turns(
    members: list[Member], options: Options, form: type[Streams] = Streams
) -> list[Outcome]:
    outcomes = form(dict(enumerate(members)), options).run()
    return [outcomes[number] for number in range(len(members))]


@pytest.mark.parametrize("changed", [{}, {"precision": "bf16"}, {"bn_batch": 8}])
def test_every_member_has_the_bits_of_a_trial_alone(
    changed: dict[str, Any], tmp_path: Path, options: Options
) -> None:
    specs = [spec.changed(**changed) for spec in MIXED]
    together = in_turns(pack(specs, tmp_path), options)
    for number, spec in enumerate(specs):
        assert bits(together[number]) == alone(spec, tmp_path / f"alone {number}", options)


def test_members_with_recorded_steps_have_the_bits_of_trials_alone(
    tmp_path: Path, options: Options
) -> None:
    class Recorded(Streams):
        def build(self, index: int) -> Trial:
            trial = super().build(index)
            assert trial.learner.record_graph(rerun)
            return trial

    together = in_turns(pack(MIXED, tmp_path), options, Recorded)
    for number, spec in enumerate(MIXED):
        assert bits(together[number]) == alone(spec, tmp_path / f"alone {number}", options)


def test_each_member_leaves_its_own_journal_checkpoint_and_result(
    tmp_path: Path, options: Options
) -> None:
    outcomes = in_turns(pack(MIXED[:2], tmp_path), options)
    for number, (spec, outcome) in enumerate(zip(MIXED[:2], outcomes, strict=True)):
        assert isinstance(outcome, Result)
        folder = tmp_path / str(number)
        stored = Result.model_validate_json((folder / RESULT).read_bytes(), strict=False)
        assert (stored.trial_id, stored.numerics["packed"]) == (spec.trial_id, 2)
        assert journal.read(folder / JOURNAL) == outcome.history
        assert checkpoint.load(folder / CHECKPOINT, spec).epoch == spec.epochs


def test_members_take_turns_of_one_step(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    step = Learner.step

    def noted(self: Learner, images: Any, labels: Any, rate: float, number: int) -> Any:
        taken.append((number, self.spec.trainable))
        return step(self, images, labels, rate, number)

    monkeypatch.setattr(Learner, "step", noted)
    in_turns(pack(MIXED[:3], tmp_path), options)
    modes = [spec.trainable for spec in MIXED[:3]]
    assert taken == [(number, mode) for number in range(2 * STEPS) for mode in modes]


class _Lane:
    """Stands in for a CUDA stream."""

    def synchronize(self) -> None:
        pass


def test_all_that_a_member_does_happens_on_its_own_stream(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the building on, so that memory that it gives back is taken up there alone."""
    current: list[_Lane] = []
    seen: dict[str, list[tuple[int, bool]]] = {}

    @contextlib.contextmanager
    def stream(lane: _Lane) -> Iterator[None]:
        current.append(lane)
        try:
            yield
        finally:
            current.pop()

    def watch(owner: type, name: str) -> None:
        done = getattr(owner, name)

        def watched(self: Any, *given: Any) -> Any:
            number = specs.index(self.spec)
            seen.setdefault(name, []).append((number, current == [running.streams[number]]))
            return done(self, *given)

        monkeypatch.setattr(owner, name, watched)

    specs = MIXED[:2]
    running = Streams(dict(enumerate(pack(specs, tmp_path))), options)
    running.streams = {0: _Lane(), 1: _Lane()}  # type: ignore[dict-item]
    monkeypatch.setattr(torch.cuda, "stream", stream)
    for owner, name in (
        (Trial, "_start_journal"),  # while it is built
        (Learner, "forward"),
        (Learner, "step"),
        (Trial, "finish"),
    ):
        watch(owner, name)
    outcomes = running.run()
    assert [type(outcomes[number]) for number in (0, 1)] == [Result, Result]
    assert current == []
    for name in ("forward", "step", "finish", "_start_journal"):
        assert {number for number, _ in seen[name]} == {0, 1}
        assert all(right for _, right in seen[name])


def test_the_same_images_are_held_once(tmp_path: Path, options: Options) -> None:
    running = Streams(dict(enumerate(pack(MIXED, tmp_path))), options)
    for index in running.members:
        running.trials[index] = running.build(index)
    splits = [trial.data.train.images for trial in running.trials.values()]  # type: ignore[attr-defined]
    places = [images.pixels.data_ptr() for images in splits]
    assert len(set(places[:4])) == 1
    assert places[4] != places[0], "with another padding the images are others"


@pytest.mark.parametrize("diverging", [0, 2])
def test_a_member_that_diverges_leaves_the_others_as_they_would_be(
    diverging: int, tmp_path: Path, options: Options
) -> None:
    specs = list(MIXED[:3])
    specs[diverging] = small(lr=1e30)
    outcomes = in_turns(pack(specs, tmp_path), options)
    assert isinstance(outcomes[diverging], Diverged)
    assert not (tmp_path / str(diverging) / RESULT).exists()
    for number in {0, 1, 2} - {diverging}:
        expected = alone(specs[number], tmp_path / f"alone {number}", options)
        assert bits(outcomes[number]) == expected


@pytest.mark.parametrize("step", [0, 2, STEPS, STEPS + 1])
def test_a_member_may_stop_alone_and_resume_alone(
    step: int, tmp_path: Path, options: Options
) -> None:
    outcomes = in_turns(pack(MIXED[:2], tmp_path, poll={0: before_step(step)}), options)
    assert isinstance(outcomes[0], Stopped)
    assert bits(outcomes[1]) == alone(MIXED[1], tmp_path / "alone 1", options)
    resume = checkpoint.find([tmp_path / "0"], MIXED[0])
    result = train(MIXED[0], tmp_path / "0b", attempt=2, resume=resume, options=options)
    assert bits(result) == alone(MIXED[0], tmp_path / "alone 0", options)
    assert result.exact


def test_members_go_on_from_different_epochs(tmp_path: Path, options: Options) -> None:
    """One stood in epoch 1, one in epoch 2, one had not begun, one had only to be finished."""
    specs = MIXED[:4]
    polls = {0: before_step(2), 1: before_step(STEPS + 1), 2: before_step(0)}
    first = in_turns(pack(specs, tmp_path, poll=polls), options)
    assert [type(outcome) for outcome in first] == [Stopped, Stopped, Stopped, Result]
    resumes = {n: checkpoint.find([tmp_path / str(n)], spec) for n, spec in enumerate(specs)}
    again = in_turns(pack(specs, tmp_path / "again", resume=resumes), options)
    for number, spec in enumerate(specs):
        assert bits(again[number]) == alone(spec, tmp_path / f"alone {number}", options)
        assert isinstance(again[number], Result)
        assert again[number].exact


def test_a_member_that_cannot_be_built_fails_alone(tmp_path: Path, options: Options) -> None:
    (tmp_path / "0").write_text("a file where the folder should be")
    outcomes = in_turns(pack(MIXED[:2], tmp_path), options)
    assert isinstance(outcomes[0], FileExistsError)
    assert bits(outcomes[1]) == alone(MIXED[1], tmp_path / "alone", options)


def test_what_an_ended_member_held_is_free_for_the_others(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although its error, with the frames that held its tensors, is kept as its outcome."""
    networks: dict[int, Any] = {}
    alive = []

    class Watched(Streams):
        def build(self, index: int) -> Trial:
            trial = super().build(index)
            networks[index] = weakref.ref(trial.learner.flat.values)
            return trial

    differentiate = Learner.differentiate

    def full(self: Learner, images: Any, labels: Any) -> Any:
        outputs = differentiate(self, images, labels)
        if self.spec == MIXED[0]:
            raise MemoryError
        return outputs

    monkeypatch.setattr(Learner, "differentiate", full)
    listener = {1: lambda _: alive.append(networks[0]() is not None)}
    outcomes = in_turns(pack(MIXED[:2], tmp_path, on_record=listener), options, Watched)
    assert isinstance(outcomes[0], OutOfMemory)
    assert isinstance(outcomes[1], Result)
    assert "in full" in "".join(traceback.format_exception(outcomes[0]))
    assert alive == [False, False, False]


def test_a_member_whose_graph_finds_no_room_is_left_for_later(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Pack.build

    def first_alone(self: Pack, index: int) -> Trial:
        trial = build(self, index)
        trial.numerics["graph"] = index == 0
        return trial

    monkeypatch.setattr(Pack, "build", first_alone)
    outcomes = in_turns(pack(MIXED[:2], tmp_path), options)
    assert isinstance(outcomes[0], Result)
    assert isinstance(outcomes[1], OutOfMemory)
