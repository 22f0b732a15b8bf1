"""Where things lie: flag > environment > default. Read once, at the edge."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes


@dataclass(frozen=True)
class Settings:
    """Absolute paths and addresses that a command works with."""

    store: Path
    data: Path
    tracking_uri: str
    """`MLFLOW_TRACKING_URI`, or the embedded SQLite database in the store."""
    embedded_tracker: bool

    @property
    def artifact_root(self) -> Path:
        """Where the embedded tracker keeps artifacts."""
        return self.store / "mlartifacts"


def load(store: Path | None = None, data: Path | None = None) -> Settings:
    """Settings from flags (where given), `BNSWEEP_STORE`, `BNSWEEP_DATA`, `MLFLOW_TRACKING_URI`."""
    store = Path(store or os.environ.get("BNSWEEP_STORE") or "runs").absolute()
    data = Path(data or os.environ.get("BNSWEEP_DATA") or "data").absolute()
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    return Settings(
        store, data, uri or sqlite_address(store / "mlflow.db"), embedded_tracker=not uri
    )


def sqlite_address(path: Path) -> str:
    """A SQLite database's address for SQLAlchemy: what would mean something in it is quoted."""
    quoted = "".join(
        quote(os.fsencode(c)) if c in "?#%" or not c.isprintable() else c for c in str(path)
    )
    # With a driver MLflow leaves it alone; else it makes the folders of what it takes for a path.
    driver = "" if quoted == str(path) else "+pysqlite"
    return f"sqlite{driver}:///{quoted}"


def sqlite_path(address: str) -> Path:
    """The file that `sqlite_address` names."""
    return Path(os.fsdecode(unquote_to_bytes(address.partition(":///")[2])))
