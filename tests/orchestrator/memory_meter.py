"""The measured peak of one trial's tensors: every allocation that torch makes on the CPU, added up
in order. So a GPU's allocator counts too; the data set and the process are left out."""

import itertools

import torch
from torch.profiler import ProfilerActivity, profile

from trainer.data.splits import Data
from trainer.data_sets import DATA_SETS
from trainer.evaluate import evaluate
from trainer.learner import Learner
from trainer.spec import TrialSpec, classes_of, image_size_of


def peak_bytes(spec: TrialSpec, *, evaluated: bool | Data = True, kernels: str = "stock") -> int:
    """The most that was allocated while a trial was built, evaluated and trained for two steps.

    `evaluated`: on blank images, not at all, or on the test images given.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        live(spec, evaluated, kernels)
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate(event.nbytes() for event in events))


def live(spec: TrialSpec, evaluated: bool | Data, kernels: str) -> None:
    """What a trial does with its network, on blank images."""
    learner = Learner(spec, torch.device("cpu"), kernels)
    if isinstance(evaluated, Data):
        evaluate(learner.model, learner.forward, evaluated.evaluated, classes_of(spec))
    elif evaluated:
        learner.model.eval()
        with torch.inference_mode():
            learner.forward(images_of(spec, DATA_SETS[spec.dataset].evaluated_together))
    learner.model.train()
    for number in range(2):
        labels = torch.arange(spec.batch_size) % classes_of(spec)
        learner.step(images_of(spec, spec.batch_size), labels, 0.01, number)


def images_of(spec: TrialSpec, count: int) -> torch.Tensor:
    """Blank images [count, 3, side, side] in the trainer's layout."""
    side = image_size_of(spec)
    return torch.empty(count, 3, side, side, memory_format=torch.channels_last).zero_()
