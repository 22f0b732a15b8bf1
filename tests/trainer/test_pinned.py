"""A tiny trial whose numbers are pinned: where this fails, the trainer trains to other numbers.

If that is meant, say so with figures, raise IDENTITY_VERSION in trainer/spec.py and pin again.
AVX2 and AVX-512 agree within 3e-7 here.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_trials import small

from trainer.spec import IDENTITY_VERSION
from trainer.train import train

PINNED = {
    "all": ([2.4040959, 2.3496181, 2.3283808], [2.4015865, 2.2878574]),
    "bn_only": ([2.4040959, 2.3684752, 2.3568492], [2.4166597, 2.3888663]),
}
"""For each mode the test losses from epoch 0 on and the training losses."""


@pytest.mark.parametrize("trainable", PINNED)
def test_a_tiny_trial_trains_to_its_pinned_losses(trainable, tmp_path, options) -> None:
    assert IDENTITY_VERSION == 1
    spec = small(trainable=trainable, lr=0.02)
    history = train(spec, tmp_path, options=replace(options, kernels="stock")).history
    tested, trained = PINNED[trainable]
    assert [r.metrics["test/loss"] for r in history] == pytest.approx(tested, rel=1e-5)
    assert [r.metrics["train/loss"] for r in history[1:]] == pytest.approx(trained, rel=1e-5)
