"""The JSON schema of sweep files, for editors: generated from the model that reads them."""

from __future__ import annotations

from typing import Any

from orchestrator.sweep.sweep_file import SweepFile


def document() -> dict[str, Any]:
    """A JSON schema (2020-12). What needs several values together is checked by `plan` alone."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **SweepFile.model_json_schema()}
