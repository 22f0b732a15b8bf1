"""The user's own code in a sweep file: `code: PATH`, which enters each trial by its content.

The trial holds the code's sha256 and no path, so that it is the same trial wherever the code lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from orchestrator.sweep import descriptions
from orchestrator.sweep.descriptions import DataSet, Description, Network
from orchestrator.sweep.problems import Problems
from orchestrator.sweep.yaml_text import Node
from trainer import data_sets, own_code
from trainer.networks.descriptions import NETWORKS
from trainer.spec import TrialSpec, image_problems

KEY = "code"
KINDS = {
    "model": "networks",
    "dataset": "data_sets",
    "trainable": "modes",
    "augmentation": "augmentations",
}
"""Field → what it names of the definitions in a description."""


class OwnCode(BaseModel):
    """The code that a sweep file names, as it was when the file was read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: Path
    sha256: str
    place: str = ""
    """The file and line that name it, for messages."""

    @property
    def unchanged(self) -> bool:
        """Whether the code still lies there as it was."""
        try:
            return own_code.digest(self.path) == self.sha256
        except (own_code.CodeProblem, OSError):
            return False


@dataclass(frozen=True)
class DescribedCode:
    """The code, and what it defines; None where a problem that was reported hides it."""

    code: OwnCode
    description: Description | None

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The names that it defines, by the field that may have them as its value."""
        described = self.description or Description()
        return {field: tuple(getattr(described, kind)) for field, kind in KINDS.items()}

    def problems(self, spec: TrialSpec) -> Iterator[tuple[str, str]]:
        """What is wrong with a trial by what the code says of itself: field and message, each."""
        described = self.description or Description()
        network, data = described.networks.get(spec.model), described.data_sets.get(spec.dataset)
        depths = network.depths if network else None
        if depths is not None and spec.depth not in depths:
            allowed = ", ".join(map(str, depths))
            yield "depth", f"found {spec.depth}; allowed for {spec.model}: {allowed}"
        if data:
            yield from image_problems(spec, data.train_images, data.classes)
        yield from _side_problems(spec, network, data)


def _side_problems(
    spec: TrialSpec, network: Network | None, data: DataSet | None
) -> Iterator[tuple[str, str]]:
    side = spec.image_size or (data.side if data else data_sets.data_set(spec.dataset).side)
    if network:
        low, high = network.sides
    elif data and spec.model in NETWORKS:
        low, high = NETWORKS[spec.model].sides
    else:
        return  # of what is built in the spec's own rules tell
    if side and not low <= side <= high:
        found = f"found images of {side}x{side} pixels"
        allowed = f"allowed for {spec.model}: {low}x{low} to {high}x{high}"
        yield "image_size" if spec.image_size else "dataset", f"{found}; {allowed}"


def read(root: Node, folder: Path, problems: Problems) -> DescribedCode | None:
    """The code that a sweep file names; None where it names none.

    `folder`: what the path is relative to.
    """
    node = root.entries.get(KEY)
    if node is None:
        return None
    path = (folder / node.raw).absolute()
    code = OwnCode(path=path, sha256="0" * 64, place=str(node.place))
    if not isinstance(node.value, str) or not node.value:
        return DescribedCode(code, None)
    try:
        code = code.model_copy(update={"sha256": own_code.digest(path)})
    except (own_code.CodeProblem, ValueError, OSError) as error:
        problems.add(node.place, KEY, str(error))
        return DescribedCode(code, None)
    description = descriptions.ask(path)
    for problem in description.problems:
        problems.add(node.place, KEY, problem.within(path))
        problems.tracebacks.append(problem.traceback)
    return DescribedCode(code, None if description.problems else description)
