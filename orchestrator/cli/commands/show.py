"""`bnsweep show`."""

from __future__ import annotations

from typing import Any

from orchestrator.cli import options, screen
from orchestrator.cli.trial_details import trial_details
from orchestrator.settings import load as load_settings
from orchestrator.store import lookup
from orchestrator.store.store import Store

EXAMPLES = (
    "bnsweep show cifar_resnet-d14-w1-bn_only-s0-6dcfdff9",
    "bnsweep show 6dcfdff9 --json",
)
SHA256_LENGTH = 64


def show(
    trial: options.TrialId, as_json: options.Json = False, store_folder: options.StoreFolder = None
) -> None:
    """Show everything about one trial, and why it will or will not run."""
    store = Store(load_settings(store_folder).store)
    details = trial_details(store, lookup.trial_id(store, trial))
    if as_json:
        screen.show_json(details)
        return
    for title, content in details.items():
        if title == "peak_memory_bytes":
            title, content = "peak memory", f"{screen.size(content)}B"
        screen.show(screen.entry(title, _plain(content)))


def _plain(value: Any) -> str:
    """A value for a person; probes and the ends of long digests are left to --json."""
    if isinstance(value, dict):
        fields = {k: v for k, v in value.items() if not k.startswith("trained/")}
        probes = len(value) - len(fields)
        parts = [f"{k} {_plain(v)}" for k, v in fields.items()]
        return ", ".join([*parts, f"and {probes} probes (--json)"] if probes else parts) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    text = str(value)
    return text[:12] if len(text) == SHA256_LENGTH and text.isalnum() else text
