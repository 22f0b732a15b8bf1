"""A sweep file for configurations that an earlier sweep had, with other seeds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.sweep import own_code, weights_file
from orchestrator.sweep.fields import CODE_SHA256
from orchestrator.sweep.resources import Resources
from orchestrator.sweep.sweep_spec import SweepSpec
from trainer.spec import TrialSpec


def text(
    name: str,
    description: str,
    earlier: SweepSpec,
    specs: Sequence[TrialSpec],
    seeds: Iterable[int],
) -> str:
    """The file: each of `specs`, whose own seeds mean nothing here, with all of `seeds`.

    Resources, retries and whatever files are named are those of the `earlier` sweep.
    """
    pairs = [(_fields(spec, earlier), spec) for spec in specs]
    names = dict.fromkeys(name for row, _ in pairs for name in row)
    # A field of one configuration alone is written for the others too, as the default it has there.
    columns = {
        name: [row.get(name, _shown(name, getattr(spec, name, None))) for row, spec in pairs]
        for name in names
    }
    same = {name: values[0] for name, values in columns.items() if _all_same(values)}
    moving = {name: values for name, values in columns.items() if name not in same}
    lines = [f"name: {name}", f"description: {json.dumps(description, ensure_ascii=False)}"]
    lines += [f"{own_code.KEY}: {json.dumps(str(earlier.code.path))}"] if earlier.code else []
    lines += ["base:", *_entries(same, "  ")] if same else []
    if moving:
        first, *others = _entries(moving, "    ")
        lines += ["paired:", f"  - {first.strip()}", *others]
    lines.append(f"seeds: {json.dumps(list(seeds))}")
    if resources := _changed(earlier.resources):
        lines += ["resources:", *_entries(resources, "  ")]
    return "\n".join([*lines, f"retries: {earlier.retries}"]) + "\n"


def _fields(spec: TrialSpec, earlier: SweepSpec) -> dict[str, Any]:
    """What a sweep file says of a trial: files by their paths, not by their content."""
    fields = {n: _shown(n, value) for n, value in spec.identity_fields().items() if n != "seed"}
    fields.pop(CODE_SHA256, None)
    if path := earlier.files.get(fields.get("weights_sha256", "")):
        del fields["weights_sha256"]
        fields[weights_file.KEY] = str(path)
    return fields


def _shown(name: str, value: Any) -> Any:
    """As JSON has it."""
    if name == "options":
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _all_same(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)


def _entries(mapping: dict[str, Any], indent: str) -> list[str]:
    """A line for each; JSON is YAML."""
    return [f"{indent}{name}: {json.dumps(value)}" for name, value in mapping.items()]


def _changed(resources: Resources) -> dict[str, Any]:
    """Those that are not the default."""
    default = dataclasses.asdict(Resources())
    return {n: v for n, v in dataclasses.asdict(resources).items() if v != default[n]}
