"""Whether the data sets of a sweep are there, before anything starts: asked of the trainer itself.

In a process of its own, since the trainer loads torch. A data set that can be fetched is fetched
and prepared by it, once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from trainer.data_sets import DATA_SETS
from trainer.spec import TrialSpec

_PROGRAM = """
import json, sys
from pathlib import Path
from trainer.data.splits import load
from trainer.errors import TrainerError
from trainer.spec import TrialSpec
problems = []
for fields in json.loads(sys.argv[2]):
    try:
        load(TrialSpec.model_validate(fields), Path(sys.argv[1]))
    except TrainerError as error:
        problems.append(str(error))
print(json.dumps(problems))
"""


def wanted(specs: Iterable[TrialSpec]) -> list[TrialSpec]:
    """One trial for each data set that must be looked for."""
    found: dict[tuple[object, ...], TrialSpec] = {}
    for spec in specs:
        if not DATA_SETS[spec.dataset].always_there:
            kind = (spec.dataset, spec.data_id, spec.image_size, spec.crop_padding)
            found.setdefault(kind, spec)
    return list(found.values())


def problems(specs: Iterable[TrialSpec], data: Path) -> list[str]:
    """A line for each data set of the trials that cannot be used, saying where to put it."""
    looked_for = wanted(specs)
    if not looked_for:
        return []
    fields = json.dumps([spec.identity_fields() for spec in looked_for])
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM, str(data), fields], capture_output=True, text=True
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        return [f"the trainer cannot load data here: {last[0]}"]
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found
