"""Recorded steps: on the CPU with a stand-in for CUDA's capture, on a GPU where there is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_trials import rerun, small
from torch import Tensor

from trainer.data import splits
from trainer.kernels import cuda_graphs
from trainer.kernels.cuda_graphs import Outputs, Replay
from trainer.learner import Learner
from trainer.spec import TrialSpec
from trainer.train import Options, train

CPU = torch.device("cpu")


def trained(spec: TrialSpec, folder: Path, graph: bool) -> tuple[list[Tensor], Tensor, Tensor]:
    """Losses of an epoch (whose last batch is short), and the values and statistics after it."""
    learner = Learner(spec, CPU)
    learner.model.train()
    if graph:
        assert learner.record_graph(rerun)
    losses = []
    for step, batch in enumerate(splits.load(spec, folder).train.batches(1)):
        loss, _ = learner.step(*batch, 0.1 / (step + 1), step)
        losses.append(loss.clone())
    return losses, learner.flat.values.clone(), learner.flat.statistics


@pytest.mark.parametrize(
    "fields",
    [
        {"trainable": "all"},
        {"trainable": "bn_only", "precision": "bf16"},
        {"trainable": "output_only", "optimizer": "adam"},
        {"trainable": "random_k", "k": 2, "nesterov": True},
        {"trainable": "nothing"},
    ],
    ids=lambda fields: fields["trainable"],
)
def test_a_replayed_step_trains_as_the_step_itself(
    fields: dict[str, object], tmp_path: Path
) -> None:
    spec = small(**fields)
    expected, found = (trained(spec, tmp_path, graph) for graph in (False, True))
    assert torch.equal(torch.stack(found[0]), torch.stack(expected[0]))
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[2], expected[2])


def test_recording_leaves_the_learner_as_it_was() -> None:
    spec = small(trainable="bn_only")
    learner, fresh = Learner(spec, CPU), Learner(spec, CPU)
    random_state = torch.get_rng_state()
    learner.record_graph(rerun)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert learner.final_digest() == fresh.final_digest()
    assert all(parameter.grad is None for parameter in learner.model.parameters())


def test_full_batches_are_replayed_and_a_short_one_is_not(tmp_path: Path) -> None:
    spec = small()
    learner = Learner(spec, CPU)
    learner.record_graph(rerun)
    assert learner.graph is not None
    sizes = [len(labels) for images, labels in splits.load(spec, tmp_path).train.batches(1)]
    fits = [learner.graph.fits(i) for i, _ in splits.load(spec, tmp_path).train.batches(1)]
    assert sizes == [64, 64, 64, 8]
    assert fits == [True, True, True, False]


def test_a_recording_that_does_not_repeat_the_step_is_not_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    learner = Learner(small(), CPU)

    def stale(run: object) -> tuple[Replay, Outputs]:
        loss, hits, gradient = run()  # type: ignore[operator]
        return (lambda: None), (loss, hits, gradient + 1)

    assert not learner.record_graph(stale)
    assert "does not repeat" in caplog.text
    assert learner.final_digest() == Learner(small(), CPU).final_digest()


def test_a_replay_that_forgets_the_running_statistics_is_found_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    learner = Learner(small(), CPU)
    assert not learner.record_graph(lambda run: ((lambda: None), run()))
    assert "does not repeat" in caplog.text


def test_where_capture_fails_the_step_is_trained_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(run: object) -> tuple[Replay, Outputs]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    learner = Learner(small(), CPU)
    assert not learner.record_graph(refuse)
    assert "operation not permitted" in caplog.text
    assert "more" not in caplog.text


def test_on_the_cpu_no_graph_is_recorded_and_the_result_says_so(
    tmp_path: Path, options: Options
) -> None:
    result = train(small(epochs=1), tmp_path / "t", options=options)
    assert result.numerics["graph"] is False


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("trainable", ["all", "bn_only", "nothing"])
def test_a_cuda_graph_trains_as_the_eager_step_does(
    trainable: str, tmp_path: Path, options: Options
) -> None:
    spec = small(trainable=trainable, lr=0.01, deterministic=True)
    graphed, eager = (
        train(
            spec,
            tmp_path / str(graph),
            options=replace(options, device="cuda", graphs=graph),
        )
        for graph in (True, False)
    )
    assert graphed.numerics["graph"] is True
    for with_graph, without in zip(graphed.history, eager.history, strict=True):
        assert with_graph.metrics["test/loss"] == pytest.approx(
            without.metrics["test/loss"], rel=1e-4
        )


def test_a_graph_is_called_like_the_step_it_was_recorded_from() -> None:
    weight = torch.ones(3)

    def differentiate(images: Tensor, labels: Tensor) -> Outputs:
        return (images * weight).sum(), labels.sum(), images.sum(0)

    graph = cuda_graphs.record(
        differentiate, torch.ones(2, 3), torch.ones(2, dtype=torch.int64), torch.zeros(1), rerun
    )
    assert graph is not None
    loss, hits, gradient = graph(torch.full((2, 3), 2.0), torch.zeros(2, dtype=torch.int64))
    assert (loss.item(), hits.item(), gradient.tolist()) == (12.0, 0, [4.0, 4.0, 4.0])
