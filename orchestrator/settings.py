"""Where things lie: flag > environment > default. Read once, at the edge."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

from orchestrator.errors import UserError

NOTIFY = "BNSWEEP_NOTIFY"
"""Names the webhook; a launch in the background gets it here, where `ps` does not show it."""


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


def load(
    store: Path | None = None, data: Path | None = None, *, default_data: Path | None = None
) -> Settings:
    """Settings from flags (where given), `BNSWEEP_STORE`, `BNSWEEP_DATA`, `MLFLOW_TRACKING_URI`.

    `default_data`: where data sets are if nothing else says; `./data` by default.
    """
    store = Path(store or os.environ.get("BNSWEEP_STORE") or "runs").absolute()
    data = Path(data or os.environ.get("BNSWEEP_DATA") or default_data or "data").absolute()
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    return Settings(
        store, data, uri or sqlite_address(store / "mlflow.db"), embedded_tracker=not uri
    )


def settings_file() -> Path:
    """A user's own settings: `BNSWEEP_SETTINGS`, or `bnsweep/settings.yaml` where XDG says."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(os.environ.get("BNSWEEP_SETTINGS") or Path(home) / "bnsweep" / "settings.yaml")


def notify_url(flag: str = "") -> str:
    """The webhook that is told of a launch: the flag, `BNSWEEP_NOTIFY`, or `notify` of the settings
    file; "" for nobody, also where it is `off`.

    Raises UserError, which never quotes an address: whoever knows it may post there.
    """
    if flag:
        return _web_address(flag, "--notify")
    if named := os.environ.get(NOTIFY):
        return _web_address(named, NOTIFY)
    path = settings_file()
    return _web_address(_read_settings(path).get("notify", "off"), f"{path}: notify")


def _web_address(address: object, where: str) -> str:
    if address is False or address in ("off", ""):  # YAML reads `off` as a switch
        return ""
    try:
        parts = urlsplit(address if isinstance(address, str) else "")
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    allowed = "allowed: https://… or http://… without spaces, or off"
    if not fits or not isinstance(address, str) or not address.isascii() or _spaced(address):
        raise UserError(f"{where}: found no web address; {allowed}") from None
    if parts.username is not None:
        raise UserError(f"{where}: found a user's name in the address, which webhooks do not take")
    return address


def _spaced(address: str) -> bool:
    return any(not character.isprintable() or character.isspace() for character in address)


def _read_settings(path: Path) -> dict[str, object]:
    """The settings in the file; none where there is no file. Raises UserError."""
    import yaml  # a hundredth of a second that `--help` and most verbs spare

    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        # Without its cause: YAML's errors quote the file.
        raise UserError(f"{path}{line}: is not YAML; allowed: notify: https://…") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: found no keys; allowed: notify: https://…")
    # A key that is no word may be an address with something missing before it.
    words = [key if isinstance(key, str) and key.isidentifier() else "…" for key in settings]
    if unknown := [word for word in words if word != "notify"]:
        raise UserError(f"{path}: found the keys {', '.join(unknown)}; allowed: notify")
    return settings


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
