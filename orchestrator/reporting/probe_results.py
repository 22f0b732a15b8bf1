"""What the probes measured inside the networks (`artifacts/probes.npz`), by configuration."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.reporting.replicates import Replicates
from orchestrator.store.store import Store
from trainer import results
from trainer.results import Result

Arrays = dict[str, NDArray[Any]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbedConfiguration:
    """The arrays of a configuration's replicates, by seed; trainer/probes has the names."""

    group: Replicates
    by_seed: dict[int, Arrays]

    def all(self, name: str) -> list[NDArray[Any]]:
        """The array of each replicate that has it."""
        return [arrays[name] for arrays in self.by_seed.values() if name in arrays]


def read(store: Store, groups: Sequence[Replicates]) -> list[ProbedConfiguration]:
    """Configurations of which at least one replicate was probed."""
    configurations = [
        ProbedConfiguration(group, dict(_by_seed(store, group.results))) for group in groups
    ]
    return [probed for probed in configurations if probed.by_seed]


def _by_seed(store: Store, of_group: Iterable[Result]) -> Iterable[tuple[int, Arrays]]:
    for result in of_group:
        folder = store.attempt_folder(result.trial_id, result.attempt) / results.ARTIFACTS
        try:
            content = (folder / results.PROBES).read_bytes()
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                yield result.spec.seed, dict(arrays)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            _log.warning("%s: %s cannot be read: %s", result.trial_id, results.PROBES, error)
