"""The report on a sweep: what its results say, the paper's numbers beside them."""

from __future__ import annotations

from orchestrator.tables import Table
from orchestrator.tables import accuracy_table as table

__all__ = ["Table", "table"]
