"""The commented sweep file that `bnsweep init` writes."""

from __future__ import annotations

_TEXT = """\
# A sweep: every combination of the axes below, each with every seed, is one trial.
# See what it would do:   bnsweep plan {name}.yaml
# Run what is missing:    bnsweep launch {name}.yaml    (again after an edit: only the new trials)

name: {name}                       # a-z, 0-9, _ and -; also the name of the MLflow experiment
description: What trains, against depth

# A named set of defaults: digits (small, offline), cifar10, cifar100, imagenet.
recipe: digits

# Values that all trials share, on top of the recipe's. `bnsweep schema` lists all fields.
base: {{width: 1, epochs: 6}}

# What is compared: a list of values for each field.
axes:
  depth: [8, 14]                      # cifar_resnet: 6D+2, so 8, 14, 20, 26, 32 …
  trainable: [all, bn_only]           # also output_only, bn_output, all_but_bn, random_k, nothing …

# Fields that move together instead of multiplying, in lists of equal lengths.
# paired:
#   - {{lr: [0.1, 0.2], batch_size: [64, 128]}}

# Points of ranges instead of a grid, for each combination of the axes.
# sample: {{count: 8, of: {{weight_decay: {{log: [1e-5, 1e-2]}}, momentum: [0.8, 0.9]}}}}

# Combinations to leave out; further points on top of base, and grids of their own.
# exclude: [{{depth: 14, trainable: all}}]
# include: [{{depth: 20, trainable: bn_only}}, {{axes: {{depth: [26, 32], lr: [0.1, 0.2]}}}}]

seeds: 2                              # 0 and 1; or a list: [0, 3, 7]

# What one trial needs. gpus: auto (a share of a GPU where there is one), 0, 1, or 1/k.
resources: {{cpus: 1, gpus: auto}}
retries: 2                            # again after an error that may pass by itself
"""


def text(name: str = "my_sweep") -> str:
    """A starter sweep called `name`, which is itself a sweep that loads and runs in a minute."""
    return _TEXT.format(name=name)
