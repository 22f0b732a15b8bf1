"""Which training images a trial trains on, and which are kept back for its validation.

What chooses between configurations should not have seen the test images. The images for validation
depend on the data set alone, and on no trial's seed: all trials are compared by the same ones, and
none has trained on any of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError
from trainer.spec import TrialSpec

Indices = NDArray[np.int64]


def divide(labels: Sequence[int] | Indices, spec: TrialSpec, where: str) -> tuple[Indices, Indices]:
    """The training images with these labels, by number and ascending: those to train on, those for
    validation.

    A `train_subset` is the first images that are not for validation. Raises DataError, which begins
    with `where`, for fewer images than the spec takes.
    """
    validation = chosen(labels, spec.validation)
    if len(validation) < spec.validation:
        raise DataError(
            f"{where}: found validation: {spec.validation}; allowed: up to {len(validation)} of "
            f"its {len(labels)} training images, so that each class keeps one to train on"
        )
    rest = np.delete(np.arange(len(labels)), validation)
    if spec.train_subset > len(rest):
        kept = f", validation: {spec.validation}" if spec.validation else ""
        raise DataError(
            f"{where}: {len(labels)} training images{kept}, train_subset: {spec.train_subset}"
        )
    return rest[: spec.train_subset or None], validation


def chosen(labels: Sequence[int] | Indices, count: int) -> Indices:
    """`count` images, ascending, or as many as leave every class one; the classes in equal shares.

    The image of rank r (by lot) among the n of its class is called at (r + 1/2) / n, so that each
    class has its share, give or take one image, whenever the calling ends; more images are
    these and others.
    """
    if not count:
        return np.empty(0, np.int64)
    numbers = np.asarray(labels, np.int64)
    sizes = np.bincount(numbers)
    # Of numpy's generators the one that is promised to draw the same numbers for ever: a trial that
    # goes on under another version must not train on what it was validated by.
    lot = np.random.RandomState(0).permutation(len(numbers))
    by_class = np.lexsort((lot, numbers))
    ranks = np.empty_like(numbers)
    ranks[by_class] = np.arange(len(numbers)) - (np.cumsum(sizes) - sizes)[numbers[by_class]]
    of_class = sizes[numbers]
    called = np.lexsort((numbers, (2 * ranks + 1) / (2 * of_class)))
    called = called[(ranks < of_class - 1)[called]]
    return np.sort(called[:count])
